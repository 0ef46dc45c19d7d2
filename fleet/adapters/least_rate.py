"""Downloads that come too slowly to ever end: the bytes as they come, and a least rate that they must keep."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import requests
from urllib3.exceptions import HTTPError

#: Bytes a second over so many seconds.
LEAST_BYTES_PER_S, LEAST_OVER_S = 1024, 120.0


class TooSlow(Exception):
    """The other side keeps the connection open and sends next to nothing. The message follows its name."""


def pieces(
    response: requests.Response,
    size: int,
    *,
    least: int = LEAST_BYTES_PER_S,
    over_s: float = LEAST_OVER_S,
    clock: Callable[[], float] = time.monotonic,
) -> Iterator[bytes]:
    """Yield the body in pieces of at most ``size`` bytes, as they come.

    Raises requests' errors, and TooSlow when they come more slowly than ``least`` bytes a second over ``over_s``.
    """
    began, came = clock(), 0
    for piece in _as_they_come(response, size):
        yield piece
        came += len(piece)
        passed = clock() - began
        if passed >= over_s:
            if came < least * passed:
                raise TooSlow(f"{came} bytes came in {passed:.0f} s, less than {least} a second")
            began, came = clock(), 0


def _as_they_come(response: requests.Response, size: int) -> Iterator[bytes]:
    """requests' own ``iter_content`` waits until a piece is full."""
    read = getattr(response.raw, "read1", None)
    if read is None:  # urllib3 before 2.3
        yield from response.iter_content(min(size, 1 << 14))
        return
    try:
        while piece := read(size, decode_content=True):
            yield piece
    except (HTTPError, OSError) as error:
        raise requests.ConnectionError(error) from error
