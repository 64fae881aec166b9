"""The record of every step, and the observers that store it."""
