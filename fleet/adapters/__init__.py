"""The only importers of docker, requests and fabric; they implement `fleet.ports`.

Only `fleet.cli.wiring` imports it, to construct them; it imports `ports` and `errors`.
"""
