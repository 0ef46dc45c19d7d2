"""What must be on disk when a call returns: the journal, release folders, blobs.

Imports `state`; `robot` and what is above it may import it.
"""
