"""The `fleet` command: one error boundary, one place that wires adapters, the options that verbs share.

Imports everything below; nothing imports it.
"""
