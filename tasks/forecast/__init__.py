"""Forecasts of what a build costs, from a sample of its records."""
