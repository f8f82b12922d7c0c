"""The process that walks, reads, sends and commits. Control starts it when there is something to copy, and decides."""
