"""Antivenom inside other people's tools. One package per tool, each of which needs the extra of its name."""
