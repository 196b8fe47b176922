"""Attacks on pretrained models."""
