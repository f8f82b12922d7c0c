"""The nouns: frozen values that every other package speaks of. Standard library only."""
