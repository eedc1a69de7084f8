"""One edit over several devices: the tokens are shared out, and each device computes its own."""
