"""The network, and the autoencoder and text encoders around it."""
