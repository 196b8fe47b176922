"""Sanitizers, which flag training rows that look poisoned."""
