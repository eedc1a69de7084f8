"""The errors that a caller may want to tell apart from ordinary `ValueError`s."""


class CheckpointError(ValueError):
    """A file of weights cannot be used. The message names the file, what it holds, and what to do."""
