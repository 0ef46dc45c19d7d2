"""What a robot that can be hurt is made of: a disk that fills up, a clock, a driver that works while others wait."""

from __future__ import annotations

import errno
import threading
from collections.abc import Callable
from pathlib import Path

from runtime.updater.state.world import WorldError
from runtime.updater.storage.durable import write_durable
from runtime.updater.storage.journal import RESERVE
from tests.fakes.robots.robot_world import FakeWorld

#: Calls that need the robot's Docker Engine.
ENGINE_CALLS = {"engine", "image", "fetch", "keep_image", "kept_images", "remove_image", "container"}
ENGINE_CALLS |= {"compose_image", "compose_shares", "compose_up", "compose_stop", "compose_down"}
#: Calls that can end with something wrong outside.
FAILING = ENGINE_CALLS | {"report", "write_release", "set_links", "set_serving", "take_update_lock"}
DOWN = WorldError("the robot's Docker Engine does not answer", "start it", engine_down=True)
#: What a call can end with instead of its result.
TROUBLE = {
    "transient": WorldError("no route to host", "check the link", transient=True),
    "lasting": WorldError("port is already allocated", "see the Engine's log"),
    "gap": WorldError("the old container is gone, the new one did not start"),
}


class Enough(BaseException):
    """Ends `Updater.run` after so many steps: the test goes on with something else."""


class SmallDisk:
    """The volume of the state folder. Full: only what the reserve gave up can still be written."""

    def __init__(self) -> None:
        self.full = False
        self.given_up = False

    def fill(self) -> None:
        self.full, self.given_up = True, False

    def free(self) -> None:
        self.full = self.given_up = False

    def check(self) -> None:
        """Raise what a write of a few bytes would."""
        if self.full and not self.given_up:
            raise OSError(errno.ENOSPC, "No space left on device")

    def write(self, path: Path, body: bytes, private: bool = False) -> Path:
        if self.full and (path.name == RESERVE or not self.given_up):
            # What fits is written, as on a real disk.
            write_durable(path, body[: len(body) // 2] if path.name == RESERVE else b"", private)
            raise OSError(errno.ENOSPC, "No space left on device", str(path))
        return write_durable(path, body, private)

    def remove(self, path: Path) -> None:
        if self.full and path.name == RESERVE and path.exists():
            self.given_up = True
        path.unlink(missing_ok=True)


class ClockEvent(threading.Event):
    """`wake`: waiting for it lets the fake clock go on, and nothing else ends it."""

    def __init__(self, world: FakeWorld) -> None:
        super().__init__()
        self._world = world

    def wait(self, timeout: float | None = None) -> bool:
        self._world.time += timeout or 0.0
        self._world.boot += timeout or 0.0
        return self.is_set()


class SteppingCondition(threading.Condition):
    """Whoever waits for the driver drives: there is one thread here."""

    def __init__(self, work: Callable[[int], object]) -> None:
        super().__init__()
        self._work = work

    def wait_for(self, predicate: Callable[[], bool], timeout: float | None = None) -> bool:
        for _ in range(400):
            if predicate():
                return True
            self._work(1)
        return predicate()
