"""Cards of corpora, and the public summary of training content: what a build and a run are made of, for readers."""
