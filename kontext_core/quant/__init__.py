"""Weights that stay packed in memory: linear layers that multiply them out at each call, one file a family of formats."""
