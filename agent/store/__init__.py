"""Where bytes go: the port to an object store, and what can be put around one."""
