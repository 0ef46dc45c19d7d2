"""Registries: fakes, a real one, and ones that answer wrongly, by one suite."""
