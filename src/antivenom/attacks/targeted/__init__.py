"""Attacks that want chosen inputs misclassified."""
