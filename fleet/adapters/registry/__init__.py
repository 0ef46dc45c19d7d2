"""An OCI registry over HTTP: authorization, uploads, downloads, and its refusals in words.

Only `fleet.cli.wiring` imports it; it may import `fleet.adapters.docker` for credentials.
"""
