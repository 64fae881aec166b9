"""Benchmarks: our kernels and the tools that do the same, on the same inputs, outputs compared before speed."""
