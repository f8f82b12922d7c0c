"""A checkpoint in the store: its keys, documents, merging, and the way back to a tree."""
