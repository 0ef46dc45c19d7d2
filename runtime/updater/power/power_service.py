"""The power socket: the runtime container asks for a mode here, and nobody else but root may."""

from __future__ import annotations

import sys
import threading
from pathlib import Path
from typing import Any, Callable, Dict

from runtime.contract.codec import to_dict
from runtime.contract.printable import printable
from runtime.contract.robot.power import POWER_SOCKET
from runtime.updater.power.mode_keeper import PULSE_S, PowerKeeper
from runtime.updater.robot.json_socket import Peer, Server
from runtime.updater.state.world import WorldError
from runtime.updater.transaction.update_state import Rejected

#: Below the folder of the updater's own socket, in a folder of its own: that one is mounted into the container.
PLACE = (Path(POWER_SOCKET).parent.name, Path(POWER_SOCKET).name)
MAX_WHY = 200
MAX_REQUEST_BYTES = 16 * 1024


class PowerService:
    """Two threads: one answers, one keeps the mode when nobody asks."""

    def __init__(self, folder: Path, keeper: PowerKeeper, say: Callable[[str], None]) -> None:
        self._path, self._keeper, self._say = folder.joinpath(*PLACE), keeper, say
        self._stop = threading.Event()

    def start(self) -> None:
        """Begin. A socket that cannot be made is said and costs nothing but the socket."""
        threading.Thread(target=self._keep, name="power-keeper", daemon=True).start()
        try:
            server = Server(self._path, self._reply, mode=0o666, admit=self._admit, max_bytes=MAX_REQUEST_BYTES)
            self._path.parent.chmod(0o755)
        except OSError as error:
            self._say("power: cannot listen on {}: {}".format(self._path, error))
            return
        threading.Thread(target=server.serve, name="power-socket", daemon=True).start()

    def stop(self) -> None:
        """Begin nothing more. The socket's file stays: who connects is told that nobody listens."""
        self._stop.set()

    def _keep(self) -> None:
        while True:
            try:
                self._keeper.pulse()
            except WorldError as error:
                self._say("power: {} -> {}".format(error.message, error.hint))
            except Exception as error:  # noqa: BLE001  (whatever a file of the machine made of itself: the next pulse)
                self._say("power: a defect: {}: {}".format(type(error).__name__, error))
            if self._stop.wait(PULSE_S):
                return

    def _admit(self, peer: Peer) -> None:
        wanted = self._keeper.rules().uid
        if peer.uid not in (0, wanted):
            self._say("power: user {} is not allowed to ask".format(peer.uid))
            text = "user {} may not ask for a power mode".format(peer.uid)
            raise Rejected("refused", text, "root and the runtime container (user {}) may".format(wanted))

    def _reply(self, request: Dict[str, Any], peer: Peer) -> Any:
        want, why = request.get("want"), request.get("why", "")
        if request.get("verb") != "power" or not isinstance(why, str) or not (want is None or isinstance(want, str)):
            raise Rejected("usage", 'the power socket knows {"verb": "power", "want": MODE, "why": TEXT}')
        if want is None or self._stop.is_set():
            return to_dict(self._keeper.status())
        who = "user {} (process {})".format(peer.uid, peer.pid)
        return to_dict(self._keeper.ask(want, printable(why, MAX_WHY), who))


def sayer() -> Callable[[str], None]:
    """Return what writes lines to the updater's log, each once until another one comes."""
    last = [""]

    def say(text: str) -> None:
        if text != last[0]:
            last[0] = text
            sys.stderr.write(text + "\n")
            sys.stderr.flush()

    return say
