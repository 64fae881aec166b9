"""The cost of training: device peaks, floating-point operations per token, energy and carbon."""
