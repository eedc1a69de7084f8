"""Pictures in and out, their sizes, masks and marks."""
