"""Training state in the form that all engines exchange: slices of weights and of AdamW's moments."""
