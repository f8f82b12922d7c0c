"""Whose files are whose, and which head gives a job its own back: decided here, done elsewhere."""
