"""The one exception of the command line itself."""

from __future__ import annotations

from fleet.errors import FleetError


class AlreadyShown(Exception):
    """An error that the result on stdout tells already; the boundary adds only the sentence on stderr."""

    def __init__(self, error: FleetError) -> None:
        super().__init__(error.message)
        self.error = error
