"""How one picture became another: where it was moved to, and how far its colours have drifted."""
