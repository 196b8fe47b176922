"""Defences at prediction time: they refuse inputs."""
