"""The outside world, as the rest of `fleet` sees it: one small Protocol for each system.

Adapters (`fleet/adapters`) and fakes (`tests/fakes`) implement these and pass the same suites in `tests/contract`.
Every method translates its library's errors into `fleet.errors` (``from`` the cause) and has a deadline of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, Protocol

from runtime.contract.node.report import SignedReport
from runtime.contract.robot.trust import SignatureFacts

LogLine = Callable[[str], None]
"""Called with one line (no newline) of progress."""

GiveUp = Callable[[], bool]
"""Says whether a wait is to end."""


def never() -> bool:
    """Say no."""
    return False


# ── Docker Engine ────────────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class HostInfo:
    """What a Docker Engine says of its machine."""

    platform: str
    """linux/amd64, linux/arm64."""
    engine_version: str
    cpus: int
    memory_bytes: int


@dataclass(frozen=True)
class JobResult:
    """A container that ran to its end."""

    exit_code: int
    oom_killed: bool
    log_tail: str
    """Last 64 KiB of stdout and stderr."""
    output: Path | None
    """Uncompressed tar whose names start with the output folder's own name (``out/report.json``), as Docker writes it;
    None when the container left no such folder."""


@dataclass(frozen=True)
class JobLimits:
    """What a job's container may take of its machine, and its answer of ours."""

    memory_bytes: int | None = None
    """None: nine tenths of the machine's."""
    pids: int = 4096
    disk_bytes: int = 64 << 30
    """Written inside the container, beyond its image; looked at now and then."""
    output_bytes: int = 16 << 30
    """Of the output folder, as an archive."""


DEFAULT_LIMITS = JobLimits()

CREATED, RUNNING, ENDED = "created", "running", "ended"
"""States of a job: its inputs are still copied in · it runs · it ended and may have left a result."""


@dataclass(frozen=True)
class JobFacts:
    """A job with a name, as its Engine tells it."""

    name: str
    labels: Mapping[str, str]
    state: str
    """created | running | ended."""
    exit_code: int | None
    """Of a job that ended."""
    since_s: float
    """Seconds since it was created, started or ended, whichever was last, by the Engine's own clock; never negative."""
    image_id: str
    command: tuple[str, ...]


class ContainerHost(Protocol):
    """One Docker Engine: the local socket, or a builder's over ``ssh://``. Raises DockerError."""

    endpoint: str

    def info(self) -> HostInfo:
        """Ask the Engine what it is. Raises DockerError when it does not answer."""
        ...

    def image_id(self, reference: str) -> str | None:
        """Return the id of a local image, or None."""
        ...

    def image_labels(self, reference: str) -> Mapping[str, str] | None:
        """Return the labels of a local image, or None when there is no such image."""
        ...

    def pull(self, reference: str, on_log: LogLine | None = None) -> None:
        """Pull an image."""
        ...

    def build_image(
        self, context: BinaryIO, tag: str, *, labels: Mapping[str, str], on_log: LogLine | None = None
    ) -> str:
        """Build the uncompressed tar ``context`` (Dockerfile at its root), tag it, return the image id."""
        ...

    def export_image(self, reference: str) -> Iterator[bytes]:
        """Stream the image as `docker save` would."""
        ...

    def load_image(self, chunks: Iterator[bytes]) -> None:
        """Take in what `export_image` of another Engine streams."""
        ...

    def run_job(
        self,
        image: str,
        command: Sequence[str],
        *,
        inputs: BinaryIO,
        input_dir: str,
        output_dir: str,
        output_to: Path,
        labels: Mapping[str, str],
        deadline_s: float,
        on_log: LogLine | None = None,
        jetson: bool = False,
        limits: JobLimits = DEFAULT_LIMITS,
        name: str | None = None,
        give_up: GiveUp = never,
    ) -> JobResult:
        """Run one container to its end: copy the tar ``inputs`` in, start, follow the log, copy ``output_dir`` out.

        ``jetson`` gives it the GPU by NVIDIA's container runtime, and what a Jetson says of itself, read-only. Raises
        DockerError past the deadline, and past ``limits`` of disk and output; past its memory the container is killed
        (``oom_killed``). BuilderLost when the Engine does not answer any more, within half a minute.

        The container is removed whatever happens, KeyboardInterrupt included. One with a ``name`` is left when it ended
        and when the Engine was lost, so that `follow_job` can go on with it, until `remove_job`; the Engine has each
        name once: JobExists. ``give_up`` is asked about once a second; DockerError when it says yes.
        """
        ...

    def follow_job(
        self,
        name: str,
        *,
        output_dir: str,
        output_to: Path,
        deadline_s: float,
        on_log: LogLine | None = None,
        limits: JobLimits = DEFAULT_LIMITS,
        give_up: GiveUp = never,
    ) -> JobResult:
        """Go on with a job that somebody started: the rest of `run_job`, its log from the beginning.

        It is left where it is, also when ``give_up`` says yes; past its deadline and limits it is removed. Raises
        JobGone when it is not there, or not any more.
        """
        ...

    def jobs(self, labels: Mapping[str, str]) -> Sequence[JobFacts]:
        """Return all containers, whoever started them, that carry these labels."""
        ...

    def remove_job(self, name: str) -> None:
        """Remove the job of that name, running or not; one that is gone is fine."""
        ...

    def remove_containers(self, labels: Mapping[str, str]) -> int:
        """Remove all containers that carry these labels (left behind by a killed run); return how many."""
        ...


# ── OCI registry ─────────────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class OciManifest:
    """A manifest as the registry stores it."""

    digest: str
    media_type: str
    body: bytes


class BlobSource(Protocol):
    """Bytes that can be opened again for a retry."""

    @property
    def size(self) -> int:
        """Bytes."""
        ...

    @property
    def digest(self) -> str:
        """``sha256:<hex>``; may read the bytes once."""
        ...

    def open(self) -> BinaryIO:
        """Open the bytes from their start."""
        ...


class Registry(Protocol):
    """One OCI registry; repositories are names below it (``warehouse/engines``). Raises RegistryError."""

    host: str
    """``registry.example:5000``, as image references carry it."""

    def ping(self) -> None:
        """Check that the registry answers and takes our credentials."""
        ...

    def head_manifest(self, repository: str, reference: str) -> str | None:
        """Return the digest behind a tag or digest, or None."""
        ...

    def get_manifest(self, repository: str, reference: str) -> OciManifest | None:
        """Return the manifest behind a tag or digest, its digest checked against its bytes, or None."""
        ...

    def put_manifest(self, repository: str, reference: str, body: bytes, media_type: str) -> str:
        """Store a manifest under a tag or its digest; return its digest."""
        ...

    def has_blob(self, repository: str, digest: str) -> bool:
        """Say whether the repository has the blob."""
        ...

    def mount_blob(self, repository: str, digest: str, from_repository: str) -> bool:
        """Make a blob of another repository appear in this one without moving bytes. False when refused."""
        ...

    def check_push(self, repository: str) -> None:
        """Begin an upload and drop it. Raises RegistryAuthError, RepositoryMissing where nothing may be pushed."""
        ...

    def push_blob(self, repository: str, source: BlobSource) -> None:
        """Upload a blob unless it is there; chunked, resumed where the registry left off."""
        ...

    def read_blob(self, repository: str, digest: str) -> bytes:
        """Return a small blob (< 64 MiB), digest checked."""
        ...

    def fetch_blob(self, repository: str, digest: str, to: Path, *, size: int | None = None) -> None:
        """Download a blob into a file: temporary name, digest checked, atomic rename.

        Not more than ``size`` bytes of it (its descriptor's); None: as many as the registry announces.
        """
        ...

    def tags(self, repository: str) -> list[str]:
        """Return all tags of a repository, sorted; empty for a repository that does not exist."""
        ...

    def delete_manifest(self, repository: str, digest: str) -> None:
        """Delete a manifest by digest; one that is gone already is fine."""
        ...


class Downloader(Protocol):
    """Plain HTTP(S). Raises OutsideError."""

    def fetch(self, url: str, to: Path, *, sha256: str) -> None:
        """Download a file: temporary name, sha256 (hex) checked, atomic rename."""
        ...


class HttpPoster(Protocol):
    """Tells somebody by HTTP(S) POST. Raises OutsideError."""

    def post(self, url: str, body: bytes, headers: Mapping[str, str], *, deadline_s: float) -> None:
        """Post until it is taken (2xx): tried again with backoff while the other side may recover, up to the deadline.

        Redirects are not followed. Errors name the host and never the rest of the address.
        """
        ...


# ── hub ──────────────────────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class HubRow:
    """What a hub shows for one robot. Nobody has judged it."""

    robot: str
    received_at: float | None
    """Unix seconds by the hub's clock; None: it has no report."""
    envelope: SignedReport | None


@dataclass(frozen=True)
class HubPage:
    """Robots in the order of their names."""

    rows: tuple[HubRow, ...]
    next: str | None
    """Ask for what comes after this name; None: this was the last page."""
    unreadable: Mapping[str, str] = field(default_factory=dict)
    """Robot → why what the hub shows for it is no report."""


@dataclass(frozen=True)
class WaitingRobot:
    """A robot whose key no pin names, as a hub saw it."""

    robot: str
    fingerprint: str
    first_seen_at: float
    """Unix seconds by the hub's clock; so is ``received_at``."""
    received_at: float
    pinned: str | None
    """Fingerprint of another key that is pinned for this name: the robot was reinstalled, or somebody poses as it."""
    key: str = ""
    """The public key, ``ssh-ed25519 AAAA…``; whoever accepts it holds it against the fingerprint."""


class HubClient(Protocol):
    """One hub, for reading. What it says is bounded and not believed. Raises HubError."""

    url: str

    def robots(self, after: str = "", limit: int = 500) -> HubPage:
        """Return the newest report of each robot whose name follows ``after``."""
        ...

    def robot(self, name: str) -> HubRow | None:
        """Return one robot's newest report; None when the hub does not know it."""
        ...

    def waiting(self) -> tuple[WaitingRobot, ...]:
        """Return the robots that wait to be accepted, those that were seen first first."""
        ...


# ── robots over SSH ──────────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class RobotAddress:
    """Where one robot is and how its host key was pinned."""

    name: str
    host: str
    port: int
    user: str
    identity_file: str | None = None
    port_given: bool = True
    """False: nobody said, so that the operator's SSH configuration may say otherwise."""
    user_given: bool = True
    """False: nobody said, so that the operator's SSH configuration may say otherwise."""
    jump: tuple[str, ...] | None = None
    """Hosts to go through (``[user@]host[:port]``), the nearest first; empty: none. None: nobody said, the same."""

    @property
    def place(self) -> str:
        """Host and port for a person, ``10.0.0.11:22``, ``[fd00::11]:22``."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True)
class CommandResult:
    """A command that ran on a robot."""

    exit_code: int
    stdout: str
    stderr: str


class RobotShell(Protocol):
    """One open SSH connection to one robot. Raises RobotError, RobotOffline when the link is lost."""

    def run(self, command: Sequence[str], *, stdin: str | None = None, timeout_s: float = 30.0) -> CommandResult:
        """Run an argument list (quoted for the remote shell) to its end, or raise RobotSilent past the deadline."""
        ...

    def stream(self, command: Sequence[str], on_line: LogLine, *, timeout_s: float | None = None) -> int:
        """Run a command and hand its output over line by line; return its exit code."""
        ...

    def put(self, content: bytes, path: str, *, mode: int = 0o644) -> None:
        """Write a file whole: temporary name, then rename."""
        ...

    def close(self) -> None:
        """Close the connection."""
        ...


class RobotShells(Protocol):
    """Opens connections with pinned host keys."""

    def connect(self, robot: RobotAddress, *, timeout_s: float = 10.0) -> RobotShell:
        """Open a connection. Raises RobotOffline, HostKeyError, RobotError (authentication)."""
        ...

    def learn_host_key(self, robot: RobotAddress, *, replace: bool = False, timeout_s: float = 10.0) -> str:
        """Fetch and pin the robot's host key (trust on first use, or ``replace``); return its fingerprint."""
        ...

    def interrupt(self) -> None:
        """End what other threads run on robots: the remote commands too. From now on every call raises RobotError.

        Ctrl-C reaches the main thread only; without this, commands would go on at the robots.
        """
        ...


# ── signatures ───────────────────────────────────────────────────────────────────────────────────────────────────


class Signer(Protocol):
    """Makes and judges SSH signatures. Raises SigningError."""

    def fingerprint(self, key: Path) -> str:
        """Return ``SHA256:…`` of a key file: private, public, or a certificate. Raises UsageError when it is none."""
        ...

    def sign(self, statement: bytes, namespace: str, key: Path) -> str:
        """Return an armored signature over ``statement``; its owner may be asked for a passphrase or a touch."""
        ...

    def check(
        self, statement: bytes, signature: str, namespace: str, *, allowed: Path, revoked: Path | None
    ) -> SignatureFacts:
        """Judge an armored signature against an allowed_signers file and revoked keys, as of now."""
        ...


class Clock(Protocol):
    """Time, so that waits can be tested without waiting."""

    def now(self) -> float:
        """Return Unix seconds."""
        ...

    def monotonic(self) -> float:
        """Return seconds that never go back."""
        ...

    def sleep(self, seconds: float) -> None:
        """Wait."""
        ...
