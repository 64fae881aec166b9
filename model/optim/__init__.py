"""Optimization: AdamW, precision, loss scaling, schedules and spike policies. Nothing here imports torch."""
