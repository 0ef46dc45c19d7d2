"""What all workers share and nobody changes: three releases in the registry, and robots on the first, kept.

Made once by the first worker that wants it, under a file lock, with that worker's robots; the others wait and read.
"""

from __future__ import annotations

import fcntl
import json
import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, TextIO

from fleetbox.bay import Bay
from fleetbox.containers import KeptState
from fleetbox.spec import LabError

from tests.lab.road import Road
from tests.lab.site import Site

FIRST = "first"
"""The state of a robot on 1.0.0, bootstrapped and well."""


_USED: list[TextIO] = []


@dataclass(frozen=True)
class SharedRoad:
    """Where it is."""

    prefix: str
    """In the lab's registry."""
    folder: Path
    """The checkout's manifests, as they were after the last release was published."""
    first: Path
    """The same as it was when 1.0.0 was published."""
    builds: dict[str, Any]
    publishes: dict[str, Any]
    states: dict[str, str]
    """Robot → name of its kept state on 1.0.0."""


@lru_cache
def shared_road(bay: Bay, key: str) -> SharedRoad:
    """Return what was made under ``key``; make it when nobody has. LabError for all when it could not be made."""
    home = bay.spec.home / "shared" / f"{bay.spec.name}-{key}"
    home.parent.mkdir(parents=True, exist_ok=True)
    _USED.append(_use(home))  # before it is made: another session must not take it for a left-over
    with _only_one(home.with_suffix(".lock")):
        result = home / "result.json"
        if not result.exists():
            _forget_others(bay, home)
            shutil.rmtree(home, ignore_errors=True)
            home.mkdir()
            result.write_text(json.dumps(_made_or_why_not(bay, home, key)), encoding="utf-8")
        told = json.loads(result.read_text(encoding="utf-8"))
    if "failed" in told:
        raise LabError(f"what the lab's tests share could not be made: {told['failed']}", f"remove {home}")
    return SharedRoad(**{**told, "folder": home / "manifests", "first": home / "first"})


@contextmanager
def _only_one(path: Path) -> Iterator[None]:
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)  # its holder makes something with deadlines of its own
        yield


def _made_or_why_not(bay: Bay, home: Path, key: str) -> dict[str, Any]:
    try:
        made = _make(bay, home, key)
    except (LabError, AssertionError) as error:
        return {"failed": str(error)}
    return {name: value for name, value in asdict(made).items() if not isinstance(value, Path)}


def _make(bay: Bay, home: Path, key: str) -> SharedRoad:
    """Publish the releases; as soon as the first is there, roll it out and keep the robots."""
    prefix, folder = f"road-{key}", home / "manifests"
    names = list(bay.running.robots)
    with ThreadPoolExecutor(2) as pool:
        robots = pool.submit(bay.put, names, {})
        road = Road(Site.create(bay.running, folder, prefix))
        road.publish("1.0.0")
        first = home / "first"
        shutil.copytree(folder, first)
        robots.result()
        states = pool.submit(_keep_on_first, bay, Site(bay.running, first), key)
        road.publish_others()
        kept = states.result()
    shutil.copy(first / "known_hosts", folder / "known_hosts")
    return SharedRoad(prefix, folder, first, road.builds, road.publishes, kept)


def _keep_on_first(bay: Bay, site: Site, key: str) -> dict[str, str]:
    site.fleet("bootstrap")
    site.fleet("rollout", "1.0.0", "--yes")
    site.until_well()
    states = {name: f"{bay.spec.name}-{FIRST}-{key}-{name}" for name in bay.running.robots}
    with ThreadPoolExecutor(len(states)) as pool:
        list(pool.map(lambda item: bay.keep(item[0], KeptState(item[1])), states.items()))
    return states


def _forget_others(bay: Bay, home: Path) -> None:
    """Remove what earlier sessions shared, unless a running one still uses it."""
    for folder in home.parent.glob(f"{bay.spec.name}-*/"):
        if folder == home:
            continue
        with folder.with_suffix(".used").open("w") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                continue
            key = folder.name.removeprefix(f"{bay.spec.name}-")
            bay.remove_states(f"{bay.spec.name}-{FIRST}-{key}-")
            bay.forget(f"road-{key}")
            shutil.rmtree(folder)


def _use(home: Path) -> TextIO:
    """Say for as long as this process lives that it uses what is there."""
    file = home.with_suffix(".used").open("w")
    fcntl.flock(file, fcntl.LOCK_SH)
    return file
