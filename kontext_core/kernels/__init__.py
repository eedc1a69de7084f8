"""The work between matrix products, in plain torch, in fewer passes on a CPU, or in fused Triton kernels."""
