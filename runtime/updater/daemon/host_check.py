"""At every start, which is at every boot: does the host still fit the release? An upgrade is seen here first."""

from __future__ import annotations

import sys
import threading
from typing import Callable, List

from runtime.updater.state.world import WorldError
from runtime.updater.transaction.host_fit import UPGRADE_HINT

#: The Engine may come up later than we do.
TRIES, PAUSE_S = 60, 5.0


def check_at_start(look: Callable[[], List[str]], stopped: threading.Event, pause_s: float = PAUSE_S) -> None:
    """Write what no longer fits to the journal of the service, once the Engine answers."""
    said = ""
    for _ in range(TRIES):
        try:
            for problem in look():
                _say("this host no longer fits its release: {} -> {}".format(problem, UPGRADE_HINT))
            return
        except WorldError as error:
            said = error.message
        if stopped.wait(pause_s):
            return
    _say("whether this host fits its release could not be looked at: {}".format(said))


def _say(text: str) -> None:
    sys.stderr.write(text + "\n")
    sys.stderr.flush()
