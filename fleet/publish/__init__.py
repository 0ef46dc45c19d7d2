"""Images and releases, assembled in the registry by API."""
