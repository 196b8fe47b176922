"""Detectors that look at a finished model before it is used."""
