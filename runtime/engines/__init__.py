"""Engines: what a model becomes on a device, how it is built, checked and run."""
