"""From results to messages: publishers, the guard of commands, model info, diagnostics.

Imports `inputs` and `serving`; only the node and `checks` may import it.
"""
