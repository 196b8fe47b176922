"""Audits of a user's own pipeline: rows and a model in, a verdict, a worst case and a page out."""
