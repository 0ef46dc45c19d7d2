"""Engines and base images, built in containers."""
