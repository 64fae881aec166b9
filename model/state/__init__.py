"""Training state as every engine gives and takes it: slices of weights and of AdamW's moments."""
