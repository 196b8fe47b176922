"""Attacks that make a model useless by flipped labels, added rows or perturbed images."""
