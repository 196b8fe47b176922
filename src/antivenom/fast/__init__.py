"""Compiled kernels and compiled training. Each has a plain form beside it, which it must equal."""
