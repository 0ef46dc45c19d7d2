"""The manifest's files as frozen types that refuse unknown keys.

Every room of `fleet.manifest` may import it, and so may what is above; it imports no other room.
"""
