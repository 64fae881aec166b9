"""The embedded default: a small crawl made on the spot, and what must become of the records planted in it."""
