"""Asking many robots at once, side by side in a bounded pool."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from types import MappingProxyType
from typing import TypeVar

from fleet.cli.desired import office
from fleet.cli.newest import newest_of, to_bring, warning
from fleet.cli.ui.activity import Activity
from fleet.cli.ui.console import notice
from fleet.cli.wiring import Wiring
from fleet.errors import FleetError, HubError, RegistryError, UsageError
from fleet.link.reported import Asked, as_observed, read_reports
from fleet.link.robot import RobotClient
from fleet.parallel import side_by_side
from fleet.plan.observed import Observed
from fleet.ports import RobotShell
from fleet.resolve.desired import DesiredRobot
from fleet.signing.pins import read_pins
from fleet.signing.reports import UNASKED, ReportVerdict

#: SSH connections opened at once. 16 would do for robots that answer (docs/rollout.md has the measurement); the others
#: keep a thread busy until their deadline.
PARALLEL = 64

CONNECT_S = 10.0
"""How long a robot may take to answer at all."""

T = TypeVar("T")
K = TypeVar("K", bound=Hashable)


def by_item(
    work: Callable[[K], T], items: Sequence[K], on_done: Callable[[int], None] = lambda _count: None
) -> dict[K, T]:
    """Run ``work`` for every item; return the results by item. See :func:`fleet.parallel.side_by_side`."""
    found = side_by_side(work, items, workers=PARALLEL, on_done=on_done)
    return dict(zip(items, found, strict=True))


def each(
    wiring: Wiring, robots: Sequence[DesiredRobot], work: Callable[[DesiredRobot], T], shown: Activity, what: str
) -> Mapping[str, T]:
    """Run ``work`` for every robot side by side and return its results by name. Ctrl-C ends it at the robots too."""
    by_name = {robot.name: robot for robot in robots}

    def tell(done: int) -> None:
        shown.update("each", f"{what}: {done} of {len(robots)} robots (a silent one takes {CONNECT_S:g} s)")

    try:
        tell(0)
        return by_item(lambda name: work(by_name[name]), list(by_name), tell)
    except BaseException:
        wiring.shells.interrupt()
        raise


def observe(
    wiring: Wiring, robots: Sequence[DesiredRobot], shown: Activity, *, attest: bool = False, all_by_hub: bool = False
) -> Mapping[str, Observed]:
    """Look at every robot once; one that can't be asked is a value too.

    Robots that pull are looked at in the reports that the hub has of them. ``all_by_hub``: the others too.
    """
    reporting = [robot.name for robot in robots if all_by_hub or robot.link == "pull"]
    shown.update("each", f"asking the hub for {len(reporting)} robots" if reporting else "asking")
    observed = {name: as_observed(verdict) for name, verdict in reports_of(wiring, reporting).items()}
    others = [robot for robot in robots if robot.name not in observed]
    return {**observed, **(_observe_by_ssh(wiring, others, shown, attest) if others else {})}


def reports_of(
    wiring: Wiring, names: Sequence[str], known: Mapping[str, int] = MappingProxyType({})
) -> Mapping[str, ReportVerdict]:
    """Return what the hub has of these robots, held against the fleet's pins; a hub that fails is each one's problem.

    So is a registry that does not give the pins. ``known``: robot → highest sequence seen before.
    """
    if not names:
        return {}
    hub = wiring.hub
    if hub is None:
        raise UsageError("the manifest names no hub to ask", hint="name it in fleet.yaml: hub: {url: https://…}")
    try:
        standing = read_pins(office(wiring))
    except RegistryError as error:
        return _unasked(names, error)
    if standing.problem:
        notice([f"no pinned host keys count: {standing.problem} → fleet enroll accept, or fleet bootstrap"])
    asked = Asked(standing.pins, wiring.clock.now(), wiring.desired.pull.reachable, known)
    try:
        return read_reports(hub, names, asked)
    except HubError as error:
        return _unasked(names, error)


def _unasked(names: Sequence[str], error: FleetError) -> Mapping[str, ReportVerdict]:
    notice([f"{error.message} → {error.hint}"])
    return {name: ReportVerdict(name, UNASKED, error.message) for name in names}


def _observe_by_ssh(
    wiring: Wiring, robots: Sequence[DesiredRobot], shown: Activity, attest: bool
) -> Mapping[str, Observed]:
    newest = newest_of(wiring)
    notice(warning(newest))
    brought = to_bring(newest)

    def one(robot: DesiredRobot) -> Observed:
        client = RobotClient(robot.address, wiring.shells, wiring.clock, connect_timeout_s=CONNECT_S, newest=brought)
        try:
            return client.observe(attest=attest)
        finally:
            client.close()

    return each(wiring, robots, one, shown, "asking")


def with_shell(wiring: Wiring, robot: DesiredRobot, work: Callable[[RobotShell], T]) -> T:
    """Run ``work`` over one connection to ``robot``. Raises RobotError."""
    shell = wiring.shells.connect(robot.address, timeout_s=CONNECT_S)
    try:
        return work(shell)
    finally:
        shell.close()
