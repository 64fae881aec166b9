"""Traces training data: the documents that each step of a run read, and the steps that read a document."""
