"""Which documents each step of a run read, and which steps read a document."""
