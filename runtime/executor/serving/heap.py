"""Gives freed memory back to the machine after an engine was loaded or freed.

The image's malloc settings keep what is freed, so that a frame's buffers cost no page faults. What an engine takes
to load, to warm up and to be tested would be kept as well: 16 MB more with every engine put in, measured.
"""

from __future__ import annotations

import ctypes


def give_back() -> None:
    """Return the heap's free pages (glibc's malloc_trim; a few milliseconds). Does nothing with another C library."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(ctypes.c_size_t(0))
