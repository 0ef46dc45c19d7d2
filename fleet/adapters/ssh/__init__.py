"""Robots over SSH: connections, commands, host keys, and signatures by ssh-keygen.

Only `fleet.cli.wiring` imports it.
"""
