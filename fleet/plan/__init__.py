"""Desired against observed: ordered changes, as values. No I/O."""
