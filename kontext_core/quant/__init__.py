"""Weights that stay packed in memory: linears that multiply them out at each call, a file a family."""
