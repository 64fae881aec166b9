"""What runs in which order. No computation."""
