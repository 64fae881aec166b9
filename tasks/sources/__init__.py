"""Sources: one module per kind of raw input. Each turns bytes into documents and accounts for every record."""
