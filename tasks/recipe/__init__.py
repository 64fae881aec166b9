"""Recipes: what happens to each source of a corpus, and to all of them together."""
