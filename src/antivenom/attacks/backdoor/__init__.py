"""Backdoors planted through training rows."""
