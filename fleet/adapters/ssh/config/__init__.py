"""What the user's SSH configuration says of a host, as OpenSSH resolves it: asked once, kept while its files stay.

Only `fleet.adapters.ssh` imports it.
"""
