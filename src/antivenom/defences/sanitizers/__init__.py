"""Sanitizers: which training rows look poisoned."""
