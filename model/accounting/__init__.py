"""Resource use of a run: step time by part, memory, energy, and an account of every launch."""
