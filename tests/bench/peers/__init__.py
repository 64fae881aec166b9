"""Other projects' tools, each in an environment of its own, that do the same work for a comparison."""
