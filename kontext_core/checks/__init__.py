"""What comes from outside, held to kinds and ranges, and how a message shows it."""
