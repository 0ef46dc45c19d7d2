"""What systemd is told of the updater: that it runs, and, again and again, that it still answers (sd_notify(3)).

The watchdog is asked for by the updater itself and not written into the unit: the updater of an older release, which
returns when a new one fails its trial, knows nothing of it and would be killed for its silence.
"""

from __future__ import annotations

import os
import socket
import threading
from pathlib import Path
from typing import Callable, Mapping

from runtime.updater.robot.json_socket import ask
from runtime.updater.transaction.update_state import Rejected

SOCKET_ENV, WATCHDOG_ENV = "NOTIFY_SOCKET", "JETFLEET_WATCHDOG_S"
#: So long the updater may not answer; then systemd kills it and starts it again. 0 switches that off.
WATCHDOG_S = 120.0


class Supervision:
    """Asks the updater over its own socket, as everybody else does, and tells systemd when it answered."""

    def __init__(self, socket_path: Path, say: Callable[[str], None], environ: Mapping[str, str] = os.environ) -> None:
        self._socket_path, self._say = socket_path, say
        self._notify = environ.get(SOCKET_ENV, "")
        self._watchdog_s = _seconds(environ.get(WATCHDOG_ENV, ""))
        self._ended = threading.Event()

    def start(self) -> None:
        """Say that the updater is ready, and watch it from now on. Without systemd: nothing."""
        if not self._notify:
            return
        words = ["READY=1"]
        if self._watchdog_s > 0:
            words += ["WATCHDOG_USEC={:.0f}".format(self._watchdog_s * 1e6), "WATCHDOG=1"]
        self._tell(words)
        if self._watchdog_s > 0:
            threading.Thread(target=self._watch, name="watchdog", daemon=True).start()

    def stop(self) -> None:
        """Say that the updater ends in order: it need not answer any more."""
        self._ended.set()
        if self._notify:
            self._tell(["STOPPING=1"])

    def _watch(self) -> None:
        pause = self._watchdog_s / 4
        while not self._ended.wait(pause):
            try:
                ask(self._socket_path, {"verb": "status"}, pause)
            except Rejected:  # an answer too
                pass
            except ConnectionError as error:
                self._say("watchdog: {}".format(error))
                continue
            self._tell(["WATCHDOG=1"])

    def _tell(self, words: "list[str]") -> None:
        address = "\0" + self._notify[1:] if self._notify.startswith("@") else self._notify
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as to:
                to.settimeout(self._watchdog_s / 4 or 1.0)
                to.connect(address)
                to.send("\n".join(words).encode("ascii"))
        except OSError as error:
            self._say("systemd cannot be notified of {}: {}".format(words[0], error))


def _seconds(text: str) -> float:
    try:
        return max(0.0, float(text)) if text else WATCHDOG_S
    except ValueError:
        return WATCHDOG_S
