"""Signatures, roots and attestations with a real ssh-keygen."""
