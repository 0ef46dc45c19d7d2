"""One rule a file: what a manifest must fulfil beyond its types.

Only `fleet.manifest.load` runs them; they import `schema`, `yaml` and `files`.
"""
