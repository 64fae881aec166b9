"""What a run uses: the time of its steps by part, memory, energy, and the account of every launch."""
