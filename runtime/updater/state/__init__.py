"""The values of a transaction: the journal's records, how one follows another, and the World that steps act on.

Every room of the updater may import it; it imports no other room and acts on nothing.
"""
