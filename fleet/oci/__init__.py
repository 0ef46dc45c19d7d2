"""What lies in the registry, by the OCI specification: media types, manifests, documents, releases.

Imports `ports` and `errors` only; `signing` and what is above may import it.
"""
