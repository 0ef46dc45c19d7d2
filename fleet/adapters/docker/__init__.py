"""A Docker Engine through the docker SDK, and the credentials that Docker keeps.

Only `fleet.cli.wiring` and the registry adapter import it.
"""
