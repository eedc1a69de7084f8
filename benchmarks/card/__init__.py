"""A few minutes with an NVIDIA card, used for what counts most: `python -m benchmarks.card --help`."""
