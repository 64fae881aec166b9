"""Pythia and GPT-NeoX."""
