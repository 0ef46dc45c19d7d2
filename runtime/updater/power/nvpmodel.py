"""NVIDIA's nvpmodel on this host: which modes there are, which one is set, setting one without ever rebooting.

What it does, as people recorded it (it was never run here): ``-q`` prints ``NV Power Mode: NAME`` after any number of
warnings. ``-m ID`` sets a mode and keeps it over boots. When only a boot can bring the mode (other power-gating masks
or CPU cores once the GPU was used) it prints ``Reboot required for changing to this power mode`` and waits for a *yes*;
an end of input instead is ``bad input``, a failure, and nothing is changed. It may ask even for the mode that is set
already, so that one is never set again. ``--force`` reboots without asking, and is never used.
"""

from __future__ import annotations

from pathlib import Path
from typing import Optional, Tuple

from runtime.contract.robot.power import MODE_TABLE, PowerMode, parse_modes, parse_query, parse_query_id
from runtime.updater.robot.process import Ran, run, tail
from runtime.updater.state.world import WorldError

TOOL = "nvpmodel"
QUERY_S, SET_S = 10.0, 30.0
_ASKS = ("reboot required", "do you want to reboot")


class NeedsReboot(Exception):
    """The mode can only be reached through a boot."""


class Nvpmodel:
    """The tool and its table. ``root`` differs in tests only."""

    def __init__(self, root: Path = Path("/")) -> None:
        self._root = root

    def modes(self) -> Tuple[PowerMode, ...]:
        """Return this board's modes; none where there is no table."""
        try:
            return parse_modes((self._root / MODE_TABLE).read_text(encoding="utf-8", errors="replace"))
        except OSError:
            return ()

    def current(self) -> Optional[str]:
        """Ask which mode is set; by its number where the tool says no name. Raises WorldError."""
        ran = _run([TOOL, "-q"], QUERY_S)
        mode = parse_query(ran.out) or parse_query(ran.err)
        if mode is None:
            number = parse_query_id(ran.out)
            mode = next((each.name for each in self.modes() if each.id == number), None)
        if mode is None:
            raise WorldError("nvpmodel does not say which mode is set: {}".format(_words(ran)), _LOOK)
        return mode

    def set(self, mode: PowerMode) -> None:
        """Set ``mode`` and see that it is set. Raises NeedsReboot (nothing is changed then), WorldError."""
        ran = _run([TOOL, "-m", str(mode.id)], SET_S)
        words = _words(ran)
        if any(question in words.lower() for question in _ASKS):
            raise NeedsReboot()
        if ran.code != 0:
            raise WorldError("nvpmodel -m {} ended with {}: {}".format(mode.id, ran.code, words), _LOOK)
        here = self.current()
        if here != mode.name:
            text = "nvpmodel accepted mode {} but reports {} afterwards{}".format(
                mode.name, here, ": " + words if words else ""
            )
            raise WorldError(text, _LOOK)


_LOOK = "run it by hand: `sudo nvpmodel -q`, and see /etc/nvpmodel.conf"


def _run(argv: "list[str]", timeout_s: float) -> Ran:
    """Run the tool without a terminal and with nothing to read: a question gets no answer."""
    try:
        return run(argv, timeout_s)
    except WorldError as error:
        if error.transient:
            raise WorldError(error.message, _LOOK, transient=True) from error
        raise WorldError(error.message, "is this a Jetson? nvpmodel comes with L4T (nvidia-l4t-nvpmodel)") from error


def _words(ran: Ran) -> str:
    return tail((ran.out + "\n" + ran.err).splitlines())
