"""Jetfleet: the operator's side and CI."""
