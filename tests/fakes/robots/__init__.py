"""Robots for tests: shells, hosts, updaters and whole fleets of them."""
