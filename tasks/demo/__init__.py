"""The built-in demo: a small generated crawl, and the expected outcome of the records planted in it."""
