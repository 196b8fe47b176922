"""Robust learners, which replace the fit."""
