"""From a manifest to what every robot should run: defaults < group < robot, files → digests.

Imports `manifest` and what is below; `plan` and what is above may import it.
"""
