"""Weights that stay packed in memory: linear layers that multiply them out at each call, one file a family of formats."""

from .layer import PackedLinear as PackedLinear
from .layer import PackedWeight as PackedWeight
from .layer import Whole as Whole
