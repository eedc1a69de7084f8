"""Ways to skip work that changes little: faster, and not the exact picture. Off unless chosen by name."""

from .chosen import METHODS, Chosen, Method, chosen

__all__ = ["METHODS", "Chosen", "Method", "chosen"]
