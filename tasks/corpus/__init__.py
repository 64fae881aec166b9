"""Which documents make the corpus: rules, duplicates, and the documents that stay."""
