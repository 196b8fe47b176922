"""Mitigations of finished models."""
