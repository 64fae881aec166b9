"""What the tests of the model share: small runs, reference implementations, and programs that are killed or wrong."""
