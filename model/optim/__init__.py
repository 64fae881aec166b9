"""Optimization: the configuration of AdamW and of numeric precision. Nothing here imports torch."""
