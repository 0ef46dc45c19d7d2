"""A whole operator's desk without network or Docker: a manifest on disk, a registry, a builder and robots in memory."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from fleet.bootstrap.updater_package import updater_version
from fleet.cli import main
from fleet.cli.provenance import attests_base, attests_engine, engine_is_proven
from fleet.cli.wiring import Wiring
from fleet.errors import FleetError
from fleet.manifest.load import load_manifest
from fleet.plan.diff import runtime_recipes
from fleet.ports import CommandResult
from fleet.publish.artifact import push_engine
from fleet.publish.base import upload_base
from fleet.resolve.desired import Desired, EngineSpec
from fleet.resolve.images.recipe import recipe_for
from fleet.resolve.resolver import resolve
from fleet.signing.provenance import PROVENANCE
from tests.fakes.clock import FakeClock
from tests.fakes.container_host import FakeContainerHost
from tests.fakes.fleet_folder import write_fleet
from tests.fakes.registries.publishing import docker_archive, engine_folder, image_config, tar_of
from tests.fakes.registries.registry import FakeRegistry
from tests.fakes.robots.robot_shell import FakeHost, FakeRobotShells, updater_program
from tests.fakes.robots.updater import FakeUpdater

PREFIX = "testing"
ADDRESSES = {"amr-001": "10.0.0.11", "amr-002": "10.0.0.12", "scout-001": "10.0.0.13"}
PROBE = {
    "uid": "1000",
    "groups": "jetson docker",
    "root": "yes",
    "python": "3.8.10",
    "docker": "20.10.24",
    "compose": "2.40.3",
    "free_kib": "5000000",
    "time": "1800000000",
    "updater": "",
}


@dataclass
class Result:
    """How a command ended in this process."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """The one document on stdout."""
        return json.loads(self.out)


@dataclass
class Desk:
    """Where an operator sits; ``fleet("status")`` runs the verb."""

    folder: Path
    capsys: pytest.CaptureFixture[str]
    registry: FakeRegistry = field(default_factory=lambda: FakeRegistry("registry.test:5000"))
    builder: FakeContainerHost = field(default_factory=FakeContainerHost)
    clock: FakeClock = field(default_factory=FakeClock)

    def __post_init__(self) -> None:
        self.hosts = {name: FakeHost() for name in ADDRESSES}
        self.shells = FakeRobotShells({ADDRESSES[name]: host for name, host in self.hosts.items()})
        self.updaters = {name: FakeUpdater(name, self.clock, version=updater_version()) for name in ADDRESSES}

    def fleet(self, *arguments: str, code: int = 0) -> Result:
        """Run a verb; the test fails when it ends with another exit code."""
        own = main.own_arguments(list(arguments))
        self.capsys.readouterr()
        ended = main.run(list(arguments), as_json="--json" in own)
        printed = self.capsys.readouterr()
        result = Result(ended, printed.out, printed.err)
        assert ended == code, f"exit code {ended}, not {code}\n{result.out}\n{result.err}"
        assert "Traceback" not in result.err
        return result

    def json(self, *arguments: str, code: int = 0) -> Any:
        """Run a verb with ``--json`` and return its one document."""
        return self.fleet(arguments[0], "--json", *arguments[1:], code=code).json

    def error(self, *arguments: str, code: int) -> str:
        """Run a verb that must fail; return its sentence, which is the same on stderr and in the document."""
        before = {**self.registry.snapshot()}
        document = self.json(*arguments, code=code)["error"]
        assert document["exit_code"] == code
        assert document["hint"]
        assert self.registry.snapshot() == before
        message: str = document["message"]
        return message

    @property
    def desired(self) -> Desired:
        return resolve(load_manifest(self.folder), recipe_for)

    def set_version(self, version: str, **changes: Any) -> None:
        """Write the manifest. A signed fleet gets a builder of its own, who attests what `build` puts there."""
        if isinstance(changes.get("trust"), dict):
            changes["trust"] = {**self.builder_role(), **changes["trust"]}
        write_fleet(self.folder, fleet={"version": version, **changes})

    def builder_role(self) -> dict[str, str]:
        """Make the builder's key, which real and fake signers take; return its part of ``trust``."""
        key = self.folder.parent / "desk-keys" / "builder"
        if not key.exists():
            key.parent.mkdir()
            subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "builder", "-f", str(key)], check=True)
            public = key.with_suffix(".pub").read_text().strip()
            line = f'builder@x namespaces="{PROVENANCE}" {public}\n'
            (self.folder / "allowed_builders").write_text(line)
        return {"builders": "allowed_builders", "build_with": str(key)}

    # ── what was done before ─────────────────────────────────────────────────────────────────────────────────────

    def build(self) -> None:
        """Put the engines and base images of the manifest into the registry."""
        for spec in self.desired.engines.values():
            self.push(spec)
        layers = [tar_of({"etc/base": b"debian"})]
        wiring = self.wiring
        for recipe in runtime_recipes(wiring.desired):
            archive = docker_archive(layers, image_config(layers))
            attest = attests_base(wiring, recipe, wiring.clock.now())
            upload_base(self.registry, f"{PREFIX}/bases", recipe.tag, [archive], attest=attest)

    @property
    def wiring(self) -> Wiring:
        """What a verb would be given."""
        return Wiring(self.folder)

    def push(self, spec: EngineSpec) -> None:
        """Put one engine into the registry, as `fleet build` does."""
        folder = self.folder.parent / "engines" / spec.tag
        report = engine_folder(folder, spec.key, model=spec.model, precision=spec.precision)
        wiring = self.wiring
        push_engine(
            self.registry,
            f"{PREFIX}/engines",
            spec.key,
            folder,
            report=report,
            proven=engine_is_proven(wiring, spec),
            attest=attests_engine(wiring, spec, 1.0),
        )

    def publish(self, version: str = "1.0.0", **changes: Any) -> None:
        """Publish a version of the manifest."""
        self.set_version(version, **changes)
        self.build()
        self.fleet("publish")

    def bootstrapped(self) -> None:
        """Pin host keys and put an updater on every robot."""
        for robot in self.desired.robots:
            self.shells.learn_host_key(robot.address)
            updater_program(self.hosts[robot.name], self.updaters[robot.name])

    def running(self, version: str = "1.0.0", **changes: Any) -> None:
        """Have every robot run a version."""
        self.publish(version, **changes)
        self.bootstrapped()
        self.fleet("rollout", "--yes")

    def installable(self) -> None:
        """Let every host take `fleet bootstrap`."""
        for name, host in self.hosts.items():
            host.programs["sh"] = lambda _args, _in: CommandResult(
                0, "".join(f"{k}={v}\n" for k, v in PROBE.items()), ""
            )
            host.programs["sudo"] = self._installer(host, self.updaters[name])

    def _installer(self, host: FakeHost, updater: FakeUpdater) -> Callable[[Sequence[str], str], CommandResult]:
        def install(_args: Sequence[str], _stdin: str) -> CommandResult:
            updater_program(host, updater)
            return CommandResult(0, '{"changed": true, "service": "systemd", "trial": false}\n', "")

        return install

    def breaks(self, verb: str, error: FleetError) -> None:
        """Have every request of one kind fail."""

        def hook(asked: str, _target: str) -> None:
            if asked == verb:
                raise error

        self.registry.hook = hook


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Desk:
    site = Desk(write_fleet(tmp_path / "manifests"), capsys)
    monkeypatch.setenv("FLEET_MANIFEST", str(site.folder))
    for name in ("registry", "shells", "clock"):
        monkeypatch.setattr(Wiring, name, getattr(site, name))
    monkeypatch.setattr(Wiring, "_host_of", lambda _wiring, _profile: site.builder)
    return site
