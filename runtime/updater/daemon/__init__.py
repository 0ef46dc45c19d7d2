"""The daemon: the one process that owns the journal, and what it answers on its socket.

Imports every room but `cli`, which alone may import it.
"""
