"""A run: its configuration and key, its data, the events that change it, and what it inherits from another run."""
