"""Sources: one module per kind of raw input, each turning bytes into documents with books that balance."""
