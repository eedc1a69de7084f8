"""What a model's edits are worth, measured against the known right answers of the tiny world."""
