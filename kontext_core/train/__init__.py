"""Training of a Kontext model: autoencoder and text encoders first, then the flow on top of both."""
