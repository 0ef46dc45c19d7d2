"""Unit tests reach nothing outside of their own process: a socket is an error, on every path."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import settings
from pytest_socket import disable_socket, enable_socket

from tests.unit import examples as _registers_the_profile  # noqa: F401

settings.load_profile("jetfleet")


@pytest.fixture(autouse=True)
def _no_sockets() -> Iterator[None]:
    """Refuse sockets, Unix sockets excepted: event loops and process pools are made of those."""
    disable_socket(allow_unix_socket=True)
    yield
    enable_socket()
