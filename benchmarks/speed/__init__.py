"""How fast is an edit, beside this card's own limits and beside diffusers? `python -m
benchmarks.speed --help`.
"""
