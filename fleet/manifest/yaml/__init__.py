"""YAML text with line numbers, and problems said with file, line and key path.

Every room of `fleet.manifest` may import it; it imports no other room.
"""
