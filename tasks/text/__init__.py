"""Texts as stages compare them: normalised lines, shingles, n-grams, hashes."""
