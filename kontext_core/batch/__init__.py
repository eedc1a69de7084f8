"""Many edits from a file of lines: on one device or on each of several, resumable, each made once."""
