"""The errors a user can meet.

Every message says what happened and where; ``hint`` says what to do. One boundary (``fleet.cli.main``) prints them
and exits with ``exit_code``. ::

    FleetError                      1   a defect of ours unless a subclass says otherwise
    ├── ManifestError               2   the manifest is wrong: every problem of it at once
    ├── UsageError                  2   the command line, a selector or a version is wrong
    ├── OutsideError                3   something outside failed
    │   ├── RegistryError           3
    │   │   ├── RegistryAuthError   3
    │   │   └── RepositoryMissing   3   it must be created before anything is pushed
    │   ├── HubError                3   the hub cannot be asked, or answers what it should not
    │   ├── DockerError             3
    │   │   ├── BuilderLost         3   the Engine stopped answering while something ran there
    │   │   ├── JobExists           3   a job of that name is there already
    │   │   └── JobGone             3   it is not there, or not any more
    │   ├── SigningError            3   a key did not sign
    │   ├── BuildError              3   a builder could not build (an engine, an image)
    │   └── RobotError              3   one robot, over SSH
    │       ├── RobotOffline        6   not reachable: a state, caught up at next contact
    │       ├── RobotSilent         3   reachable, but what it was asked got no answer in time
    │       ├── NoHost              3   it pulls, and the manifest gives no address for SSH
    │       └── HostKeyError        3   the robot's key is not the pinned one
    │           └── NotPinned       3   no key is pinned: the robot was never bootstrapped
    ├── GateError                   4   a gate said no
    │   ├── EngineGateError         4   accuracy or latency of an engine
    │   ├── NotProven               4   no builder attests it, or it is not what it says it is
    │   ├── RolloutFailed           4   robots were reverted, or a wave failed its gate
    │   ├── VerifyFailed            4   a robot does not do what its release says
    │   └── NotSigned               4   too few allowed signers have signed a release
    ├── PublishConflict             4   the version is published with other content
    ├── PlanOutdated                4   a robot changed since the plan was made
    ├── LockHeld                    5   somebody else holds the rollout lock
    ├── RobotsOffline               6   finished, but robots were offline, or said "not now"
    └── RolloutPaused               7   a rollout waits for an approval, or for --resume
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from runtime.contract.engine.sensitivity import Sensitivity


class FleetError(Exception):
    """Base of all errors that are shown without a traceback."""

    exit_code = 1

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    @property
    def words(self) -> str:
        """The message, for where the name that it begins with (a robot's) stands already."""
        return self.message


@dataclass(frozen=True)
class Problem:
    """One thing wrong with a manifest."""

    file: str
    line: int
    """1-based; 0 when the problem is the file itself."""
    path: str
    """The key's path, ``robots/3/models/0/precision``; empty for the whole file."""
    message: str
    hint: str

    def __str__(self) -> str:
        where = f"{self.file}:{self.line}" if self.line else self.file
        path = f" {self.path}:" if self.path else ""
        return f"{where}:{path} {self.message} → {self.hint}"


class ManifestError(FleetError):
    """The manifest is wrong. ``problems`` holds every problem found, in file order."""

    exit_code = 2

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems = tuple(problems)
        count = len(self.problems)
        super().__init__(f"{count} problem{'s' if count != 1 else ''} in the manifest")


class UsageError(FleetError):
    """The command line asks for something that does not exist or does not make sense."""

    exit_code = 2


class OutsideError(FleetError):
    """Something outside of us failed: a registry, Docker, SSH, a robot."""

    exit_code = 3


class RegistryError(OutsideError):
    """The registry could not be reached, or refused."""


class RegistryAuthError(RegistryError):
    """The registry wants credentials, or refuses those that it got."""


class RepositoryMissing(RegistryError):
    """The registry makes no repository by itself, and nobody has created this one."""


class HubError(OutsideError):
    """The hub could not be asked, or answered what it should not."""


class DockerError(OutsideError):
    """A Docker Engine could not be reached, or refused."""


class BuilderLost(DockerError):
    """A Docker Engine stopped answering while something ran there: the link, the Engine or its machine is down."""


class JobExists(DockerError):
    """The Engine has a job of that name already."""


class JobGone(DockerError):
    """The Engine has no job of that name, or not any more."""


class SigningError(OutsideError):
    """ssh-keygen, an agent or a token did not sign."""


class BuildError(OutsideError):
    """A builder ran and could not build."""


class RobotError(OutsideError):
    """One robot refused, or answered what it should not."""

    def __init__(self, robot: str, message: str, *, hint: str = "") -> None:
        super().__init__(f"{robot}: {message}", hint=hint)
        self.robot = robot
        self._words = message

    @property
    def words(self) -> str:
        """The message without the robot's name."""
        return self._words


class RobotOffline(RobotError):
    """The robot does not answer: a state, not a defect."""

    exit_code = 6


class RobotSilent(RobotError):
    """The robot can be reached, but a command there did not answer in time (hung, killed, its service stopped)."""


class HostKeyError(RobotError):
    """The robot shows a host key other than the pinned one, or none is pinned."""


class NoHost(RobotError):
    """The manifest gives no address: the robot comes for its release, and SSH does not reach it."""

    def __init__(self, robot: str) -> None:
        super().__init__(
            robot,
            "SSH does not reach it: it pulls, and the manifest gives no host",
            hint="fleet status shows what it reports; name a host in fleet.yaml where SSH reaches it too",
        )


class NotPinned(HostKeyError):
    """No host key is pinned for this robot: it was never bootstrapped from this manifest."""


class GateError(FleetError):
    """A gate said no."""

    exit_code = 4


class EngineGateError(GateError):
    """An engine's accuracy or latency is not what the manifest asks.

    ``sensitivity``: after a failed accuracy gate, what the builder measured of which nodes cost it.
    """

    def __init__(self, message: str, *, hint: str = "", sensitivity: Sensitivity | None = None) -> None:
        super().__init__(message, hint=hint)
        self.sensitivity = sensitivity


class RolloutFailed(GateError):
    """A wave failed its gate, or robots were reverted."""


class VerifyFailed(GateError):
    """A robot was asked to check itself, and a check failed."""


class NotSigned(GateError):
    """Robots would refuse a release: too few allowed signers have signed it."""


class NotProven(GateError):
    """Nobody who may build for this fleet attests what the registry holds, or it is not what it says it is."""


class PublishConflict(FleetError):
    """The version is in the registry already, with other content."""

    exit_code = 4


class PlanOutdated(FleetError):
    """What the plan was made from has changed."""

    exit_code = 4


class LockHeld(FleetError):
    """Another process holds the rollout lock."""

    exit_code = 5


class RobotsOffline(FleetError):
    """All that could be done is done, but robots were offline, or said "not now" (deferred)."""

    exit_code = 6


class RolloutPaused(FleetError):
    """A rollout waits before one of its waves: for an approval, or until somebody resumes it."""

    exit_code = 7
