"""Training of a Kontext model: the autoencoder first, then the flow together with its text encoders."""
