"""Encoding texts: by the library gigatoken where it gives the ids of the library `tokenizers`, else by the latter."""
