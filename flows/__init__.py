"""Prefect flows and the command line: which task runs when. Nothing is computed here."""
