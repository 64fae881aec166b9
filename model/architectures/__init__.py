"""Model architectures: one folder each, the layers they share, and the registry."""
