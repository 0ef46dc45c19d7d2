"""For all tests: the lab's code is importable, and Ctrl-C is what it is in a terminal, wherever they were started."""

from __future__ import annotations

import signal
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "compose" / "lab"))

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # Of a background job; children would inherit it.
    signal.signal(signal.SIGINT, signal.default_int_handler)
