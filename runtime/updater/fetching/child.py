"""The process that fetches one image. `robot/fetch_process.py` reads its stdout: a JSON object a line."""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import threading
import time
from pathlib import Path
from typing import Any, Dict, List, Optional

from runtime.updater.fetching.credentials import RobotLogins
from runtime.updater.fetching.download import Downloads
from runtime.updater.fetching.errors import Cannot, Stopped, UpstreamError
from runtime.updater.fetching.link import Link, Patience
from runtime.updater.fetching.loopback import Loopback
from runtime.updater.fetching.reference import Reference, parse_reference
from runtime.updater.fetching.settings import parse_info, way_to
from runtime.updater.fetching.upstream import Upstream
from runtime.updater.robot import process
from runtime.updater.robot.docker_cli import STALL_S, PullReader, failure
from runtime.updater.robot.engine_info import plain_loopback
from runtime.updater.robot.registry_login import docker_folder, login_folder, pull_words
from runtime.updater.state.world import StepInterrupted, WorldError
from runtime.updater.storage.blob_store import BlobStore

#: Without a byte, or with next to none, for so long a fetch ends; the transaction tries again. Shorter than the
#: parent's own patience.
UPSTREAM_STALL_S = 90.0
ASK_S = 30.0
#: The Engine is silent while it waits for us: what ends that wait is the upstream's stall, or the parent's.
NEVER_S = 7 * 24 * 3600.0


class Speaker:
    """Says things to the parent, from any thread; progress at most once a second, and only when there is some."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._last: Dict[str, Any] = {}

    def say(self, **values: Any) -> None:
        """Say one thing. A parent that is gone is noticed by `_watch_parent`."""
        with self._lock:
            sys.stdout.write(json.dumps(values) + "\n")
            sys.stdout.flush()

    def progress(self, moved: int, here: int, total: int) -> None:
        """Say how far it is, unless nothing moved."""
        values = {"moved": moved, "here": here, "total": total}
        if values != self._last:
            self._last = values
            self.say(**values)


class Fetch:
    """One image, by one way through the registry."""

    def __init__(self, options: argparse.Namespace, stop: threading.Event) -> None:
        self._options, self._stop = options, stop
        self._speaker = Speaker()
        self._store = BlobStore(options.store)
        self._root: Path = options.store.parent
        self._reference = parse_reference(options.reference)
        self._link = Link(options.rate, stop, self._store.moved(options.order) or 0, options.stall)
        self._downloads = self._begin(self._reference)

    def run(self) -> None:
        """Bring the image under its own name. Raises UpstreamError, WorldError, Cannot, Interrupted, OSError."""
        threading.Thread(target=self._link.pace.watch, args=(self._stop,), name="pace", daemon=True).start()
        self._downloads.manifest(self._reference.digest)
        done = threading.Event()
        reporter = threading.Thread(target=self._report, args=(done,), name="reporter", daemon=True)
        reporter.start()
        try:
            self._through_loopback()
        finally:
            done.set()
            reporter.join()
        self._by_name()
        self._store.keep_only(())
        self._store.count(self._options.order, self._link.moved)
        self._speaker.say(done=True)

    def _begin(self, reference: Reference) -> Downloads:
        ran = process.run([self._options.docker, "info", "--format", "{{json .}}"], ASK_S)
        if ran.code != 0:
            raise failure("docker info", ran.err)
        info = parse_info(ran.out)
        if not plain_loopback(info):
            raise Cannot(
                "the Engine asks registries on 127.0.0.1 by TLS, as its insecure-registries do not name 127.0.0.0/8 "
                "(`fleet bootstrap --open-loopback` adds it)"
            )
        way = way_to(reference.host, info)
        logins = RobotLogins(reference.host, login_folder(self._root), docker_folder())
        upstream = Upstream(reference, way, logins.lookup, self._link)
        return Downloads(self._store, upstream, self._link, self._patience)

    def _patience(self) -> Patience:
        return Patience(self._link, self._options.stall, self._stop, lambda text: self._speaker.say(waits=text))

    def _through_loopback(self) -> None:
        """Have the Engine pull from us what it lacks, under a name that is thrown away."""
        loopback = Loopback(self._downloads, self._store)
        threading.Thread(target=self._end_on, args=(loopback,), name="failure", daemon=True).start()
        name = "{}/{}@{}".format(loopback.address, loopback.repository, self._reference.digest)
        try:
            said = self._pull(name, NEVER_S, layers=True)
        except StepInterrupted:
            if loopback.failed.is_set():
                raise loopback.error from None
            raise
        finally:
            loopback.close()
        if said and loopback.failed.is_set():
            raise loopback.error
        if "verification failed" in said:
            self._store.keep_only(())  # a blob went bad on this disk after it was checked: all of them anew
        if said and not loopback.asked:
            raise Cannot("the Engine does not reach this robot's 127.0.0.1")
        if said:
            raise failure("docker pull", said, transient=True)

    def _by_name(self) -> None:
        """Have the Engine pull from the registry: every layer is here, so that it only learns the image's name."""
        said = self._pull(self._options.reference, STALL_S, layers=False)
        if said:
            raise failure("docker pull", said, transient=True)

    def _pull(self, name: str, stall_s: float, *, layers: bool) -> str:
        """Run `docker pull`; return what it said when it failed."""
        reader = PullReader(lambda layer, status: self._on_layer(layer, status, layers))
        code = process.follow(
            pull_words(self._options.docker, self._root, name), self._heard(reader), stall_s, self._stop
        )
        reader.feed("\n")
        return "" if code == 0 else process.tail(reader.other[-5:]) or "exit code {}".format(code)

    def _heard(self, reader: PullReader) -> Any:
        """Return a reader that also tells the parent, once in a while, that the Engine works."""
        told = [time.monotonic()]

        def feed(text: str) -> None:
            reader.feed(text)
            if time.monotonic() - told[0] > 2.0:
                told[0] = time.monotonic()
                self._speaker.say(alive=True)

        return feed

    def _on_layer(self, layer: str, status: str, ours: bool) -> None:
        if ours:
            self._speaker.say(layer=layer, status=status)
        elif status == "downloaded":
            self._link.moved += self._downloads.size(layer)

    def _report(self, done: threading.Event) -> None:
        while not done.wait(1.0):
            self._tell()
        self._tell()

    def _tell(self) -> None:
        self._speaker.progress(self._link.moved, *self._downloads.progress())
        try:
            self._store.count(self._options.order, self._link.moved)
        except OSError:
            return  # a full disk: the fetch itself says so

    def _end_on(self, loopback: Loopback) -> None:
        """The Engine would ask again and again for what cannot be had: end it at once."""
        while not self._stop.is_set():
            error = self._downloads.error()
            if error is not None:
                loopback.fail(error)
            if loopback.failed.wait(0.2):
                self._stop.set()


def main(argv: Optional[List[str]] = None) -> int:
    """Fetch; what came of it is the last line. Exit code 0 once that line is said."""
    options = _parser().parse_args(argv)
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    threading.Thread(target=_watch_parent, args=(os.getppid(), stop), name="parent", daemon=True).start()
    try:
        with BlobStore(options.store).locked():
            Fetch(options, stop).run()
    except (StepInterrupted, Stopped):
        return 130
    except Cannot as error:
        Speaker().say(cannot=str(error))
    except (UpstreamError, WorldError, OSError) as error:
        Speaker().say(failed=_failed(error, options.store))
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="fetching")
    parser.add_argument("reference")
    parser.add_argument("--order", required=True)
    parser.add_argument("--store", type=Path, required=True)
    parser.add_argument("--rate", type=int, default=0)
    parser.add_argument("--docker", default="docker")
    parser.add_argument("--stall", type=float, default=UPSTREAM_STALL_S)
    return parser


def _failed(error: Exception, store: Path) -> Dict[str, Any]:
    if isinstance(error, WorldError):
        return {
            "message": error.message,
            "hint": error.hint,
            "transient": error.transient,
            "engine_down": error.engine_down,
        }
    if isinstance(error, UpstreamError):
        return {"message": error.message, "hint": error.hint, "transient": error.transient}
    text = "cannot write to {}: {}".format(store, getattr(error, "strerror", None) or error)
    return {"message": text, "hint": "free space on that volume", "transient": False}


def _watch_parent(parent: int, stop: threading.Event) -> None:
    """A killed updater leaves nobody to fetch for; the next one starts a fetch of its own."""
    while not stop.wait(0.5):
        if os.getppid() != parent:
            stop.set()
