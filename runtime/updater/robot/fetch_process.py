"""The daemon's side of a fetch: one process a fetch, followed; the Engine alone where that process cannot help."""

from __future__ import annotations

import sys
import threading
from pathlib import Path
from typing import Any, Dict, Iterable, List, Optional, Tuple

from runtime.contract.json_decoder import WORDS, ContractError, decode_object
from runtime.updater.robot import process
from runtime.updater.robot.docker_cli import MAX_LINE, DockerCli
from runtime.updater.robot.throwaway_name import remove_throwaways
from runtime.updater.state.world import PROJECT, FetchListener, WorldError
from runtime.updater.storage.blob_store import FOLDER, BlobStore

#: Without a word from the fetching process for so long it is ended, and tried again.
STALL_S = 150.0
#: Where our own code is: the zipapp, or a checkout.
_CODE = str(Path(__file__).parents[3])
_PROGRAM = (
    "import sys; sys.path.insert(0, sys.argv.pop(1)); from runtime.updater.fetching.{} import main; sys.exit(main())"
)
_FETCH, _ASK = _PROGRAM.format("child"), _PROGRAM.format("ask")
#: For `docker info`, a look at the registry, a token, a redirect.
ASK_S = 25.0


class FetchingDocker(DockerCli):
    """Docker that can fetch an image by a road of our own. ``root``: holds ``blobs/`` and ``releases/``."""

    def __init__(
        self,
        root: Path,
        interrupt: threading.Event,
        project: str = PROJECT,
        docker: str = "docker",
        machine: Path = Path("/"),
    ) -> None:
        super().__init__(root, interrupt, project, docker, machine)
        self.blobs = BlobStore(root / FOLDER)

    def fetch(self, reference: str, order_id: str, bytes_per_s: int, listener: FetchListener) -> None:
        """Bring an image to the Engine; what came over the link stays when this fails."""
        reader = ChildReader(listener)
        code = process.follow(
            self._argv(reference, order_id, bytes_per_s), reader.feed, STALL_S, self._interrupt, "the fetching process"
        )
        reader.feed("\n")
        if reader.cannot:
            listener.alone(reader.cannot)
            return self.pull(reference, listener.layer)
        if reader.failed is not None:
            raise reader.failed
        if code != 0 or not reader.done:
            said = process.tail(reader.other[-5:])
            raise WorldError("the fetching process ended with {}: {}".format(code, said), transient=True)
        remove_throwaways(self._docker)
        return None

    def ask_registry(self, reference: str) -> Tuple[str, str]:
        """Ask the image's registry for it; see :class:`runtime.updater.state.world.World`."""
        words = [sys.executable, "-S", "-I", "-c", _ASK, _CODE, reference]
        ran = process.run([*words, "--root", str(self.blobs.folder.parent), "--docker", self._docker], ASK_S)
        told = _object(ran.out.strip())
        if ran.code != 0 or told is None:
            said = process.tail(ran.err.splitlines()[-1:]) or "exit code {}".format(ran.code)
            raise WorldError("the registry could not be asked: {}".format(said))
        return ("", "") if "cannot" in told else (str(told.get("host") or ""), str(told.get("problem") or ""))

    def fetched_bytes(self, order_id: str) -> Optional[int]:
        """Return the bytes that an order took over the network so far; None when nobody counted."""
        return self.blobs.moved(order_id)

    def bytes_in_store(self, digests: Iterable[str]) -> int:
        """Return the bytes of these blobs that are on the disk, outside the Engine."""
        return sum(self.blobs.size(digest) for digest in digests)

    def prune_store(self, keep: Iterable[str]) -> None:
        """Remove all blobs but those of ``keep``, and the names that a cut fetch left in the Engine."""
        try:
            self.blobs.keep_only(keep)
        except OSError as error:
            raise WorldError("cannot clean {}: {}".format(self.blobs.folder, error), "see the folder") from error
        remove_throwaways(self._docker)

    def _argv(self, reference: str, order_id: str, bytes_per_s: int) -> List[str]:
        words = [sys.executable, "-S", "-I", "-c", _FETCH, _CODE, reference]
        words += ["--order", order_id, "--store", str(self.blobs.folder), "--rate", str(bytes_per_s)]
        return [*words, "--docker", self._docker]


class ChildReader:
    """Reads what the fetching process says, a JSON object a line; anything else is kept for the error."""

    def __init__(self, listener: FetchListener) -> None:
        self.cannot = ""
        self.done = False
        self.failed: Optional[WorldError] = None
        self.other: List[str] = []
        self._listener = listener
        self._rest = ""
        self._counts: Optional[Tuple[int, int, int]] = None

    def feed(self, text: str) -> None:
        """Take the next piece; a line may come in several."""
        *lines, self._rest = (self._rest + text.replace("\r", ""))[-MAX_LINE:].split("\n")
        for line in lines:
            told = _object(line)
            if told is not None and self._take(told):
                continue
            if line.strip():
                self.other = [*self.other[-20:], line[:1000]]

    def _take(self, told: Dict[str, Any]) -> bool:
        """Act on one thing that was said; False when it is none of those that are known."""
        counts = _counts(told)
        if counts is not None:
            self._counts = counts
            self._listener.moved(*counts)
        elif "alive" in told:
            if self._counts is not None:  # nothing new, but the fetch's deadline is looked at
                self._listener.moved(*self._counts)
        elif "layer" in told and "status" in told:
            self._listener.layer(str(told["layer"]), str(told["status"]))
        elif "waits" in told:
            self._listener.waits(str(told["waits"]))
        elif "cannot" in told:
            self.cannot = str(told["cannot"])
        elif isinstance(told.get("failed"), dict):
            self.failed = _error(told["failed"])
        elif not told.get("done"):
            return False
        self.done = self.done or bool(told.get("done"))
        return True


def _counts(told: Dict[str, Any]) -> Optional[Tuple[int, int, int]]:
    moved, here, total = (told.get(name) for name in ("moved", "here", "total"))
    if isinstance(moved, int) and isinstance(here, int) and isinstance(total, int):
        return moved, here, total
    return None


def _object(line: str) -> Optional[Dict[str, Any]]:
    if not line.startswith("{"):
        return None
    try:
        return decode_object(line, "the fetching process", WORDS)
    except ContractError:
        return None


def _error(told: Dict[str, Any]) -> WorldError:
    return WorldError(
        str(told.get("message", "")),
        str(told.get("hint", "")),
        transient=bool(told.get("transient")),
        engine_down=bool(told.get("engine_down")),
    )
