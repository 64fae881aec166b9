"""The command line: the same flows, from a terminal."""
