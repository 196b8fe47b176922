"""Attacks that make a model useless: flipped labels, added rows, perturbed images."""
