"""The command line: one file per command, each imported so late that `status` needs the standard library only."""
