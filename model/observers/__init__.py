"""What is recorded of every step, and the interface of those that record it."""
