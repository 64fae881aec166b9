"""Text as stages compare it: normalised lines, shingles, n-grams, hashes."""
