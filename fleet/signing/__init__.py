"""Who signs and who has: statements, signatures in the registry, the keyring that judges them.

Imports `oci` and what is below; `manifest` and what is above may import it.
"""
