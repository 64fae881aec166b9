"""Predicts the needs of a training run before it starts: memory, time, energy, and the layouts that fit."""
