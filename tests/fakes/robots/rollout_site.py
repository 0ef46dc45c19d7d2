"""A fleet for rollout tests: robots with fake updaters, releases made to measure, time that only waits move."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from fleet.link.robot import RobotClient
from fleet.manifest.schema.manifest_schema import Rollout
from fleet.plan.diff import RobotChange, robot_changes
from fleet.ports import RobotAddress
from fleet.resolve.desired import DesiredRobot
from fleet.rollout.controller import roll_out
from fleet.rollout.orders import check_known, folder_of
from fleet.rollout.pause import Earlier
from fleet.rollout.result import RolloutEvent, RolloutResult
from runtime.contract.codec import digest_of
from runtime.contract.engine.build import DeviceFacts
from runtime.contract.robot.release import Probation, ReleaseDocument, ReleaseEngine, ReleaseVariant
from tests.fakes.clock import FakeClock
from tests.fakes.robots.robot_shell import FakeHost, FakeRobotShells, updater_program
from tests.fakes.robots.updater import FakeUpdater

FLEET = "warehouse"


def variant(content: str) -> ReleaseVariant:
    """Return a variant that is a function of ``content``."""
    return ReleaseVariant(
        name=f"sim-{content}",
        profile="sim",
        image=f"registry.test/warehouse/runtime@{digest_of(content)}",
        image_bytes=1000,
        base_digest=digest_of("base"),
        config_digest=digest_of("config"),
        engines=(ReleaseEngine("sign_text", "fp32", digest_of(["key", content]), digest_of("layer"), 100),),
        requires=DeviceFacts("linux/amd64"),
        compose_files=("robot.compose.yaml",),
    )


def release(version: str, robots: Mapping[str, str], compose: str = "services: {}") -> ReleaseDocument:
    """Return a release in which each robot runs ``variant(content)``: name → content."""
    return ReleaseDocument(
        fleet=FLEET,
        version=version,
        variants=tuple(variant(content) for content in sorted(set(robots.values()))),
        robots={name: f"sim-{content}" for name, content in robots.items()},
        tags={},
        compose={"robot.compose.yaml": compose},
        probation=Probation(soak_s=5, ready_timeout_s=60, confirm_timeout_s=60),
    )


class RolloutSite:
    """Robots ``r0`` … ``r<n-1>``, at site ``s0`` or ``s1`` in turn."""

    def __init__(self, count: int) -> None:
        self.clock = FakeClock()
        self.hosts = {f"host-{n}": FakeHost() for n in range(count)}
        self.shells = FakeRobotShells(self.hosts)
        self.updaters: dict[str, FakeUpdater] = {}
        self.robots: list[DesiredRobot] = []
        self.events: list[RolloutEvent] = []
        for n, (address, host) in enumerate(self.hosts.items()):
            robot = desired(f"r{n}", address, {"site": f"s{n % 2}"})
            self.robots.append(robot)
            self.updaters[robot.name] = FakeUpdater(robot.name, self.clock)
            updater_program(host, self.updaters[robot.name])
            self.shells.learn_host_key(robot.address)

    def host(self, name: str) -> FakeHost:
        return self.hosts[f"host-{name[1:]}"]

    def content(self, content: str) -> dict[str, str]:
        """Return every robot at one content."""
        return {robot.name: content for robot in self.robots}

    def client(self, robot: DesiredRobot) -> RobotClient:
        return RobotClient(robot.address, self.shells, self.clock)

    def roll(
        self,
        document: ReleaseDocument,
        robots: Sequence[DesiredRobot] | None = None,
        *,
        policy: Mapping[str, Any] | None = None,
        on_event: Callable[[RolloutEvent], None] | None = None,
        keep_lock: Callable[[], None] = lambda: None,
        force: bool = False,
        override: str = "",
        changes: Sequence[RobotChange] = (),
        earlier: Earlier | None = None,
    ) -> RolloutResult:
        """Roll out, one robot at a time unless ``policy`` says otherwise."""

        def tell(event: RolloutEvent) -> None:
            self.events.append(event)
            if on_event is not None:
                on_event(event)

        return roll_out(
            document,
            digest_of(document),
            robots or self.robots,
            changes or self.plan(document, robots),
            self.client,
            policy=Rollout.model_validate({"parallel": 1, **(policy or {})}),
            clock=self.clock,
            on_event=tell,
            keep_lock=keep_lock,
            force=force,
            override=override,
            earlier=earlier,
        )

    def plan(self, document: ReleaseDocument, robots: Sequence[DesiredRobot] | None = None) -> tuple[RobotChange, ...]:
        """Look at every robot and plan, as `fleet rollout` does before it asks."""
        chosen = robots or self.robots
        check_known(document, chosen)
        observed = {}
        for robot in chosen:
            client = self.client(robot)
            observed[robot.name] = client.observe()
            client.close()
        folders = {robot.name: folder_of(document, robot.name) for robot in chosen}
        return robot_changes(chosen, document.version, document.robots, observed, folders)

    def versions(self) -> dict[str, str | None]:
        """Return what each robot holds as current."""
        return {
            name: updater.state.current.version if updater.state.current else None
            for name, updater in self.updaters.items()
        }

    def open_connections(self) -> int:
        return sum(host.open_connections for host in self.hosts.values())


def desired(name: str, host: str, labels: Mapping[str, str]) -> DesiredRobot:
    return DesiredRobot(name, RobotAddress(name, host, 22, "jetson"), None, labels, "sim-a", {}, None)


def no_rollout_threads() -> bool:
    return not any(thread.name.startswith("rollout") for thread in threading.enumerate())
