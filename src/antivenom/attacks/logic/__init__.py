"""Attacks on training code."""
