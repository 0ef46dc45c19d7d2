"""The command `fleet-updater`: its verbs, `doctor`, `recover`, and what they print.

Imports every room; nothing imports it.
"""
