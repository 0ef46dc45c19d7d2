"""Registries for tests, what is published into them, and links that break."""
