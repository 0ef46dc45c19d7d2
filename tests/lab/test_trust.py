"""A signed fleet on one robot: whatever is forged, replayed, expired or changed, the old release runs on."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from fleet.cli.ui.signature_view import keyring
from fleet.cli.wiring import Wiring
from fleet.link.robot import RobotClient
from fleet.oci.environments import closed
from fleet.oci.image_spec import Bytes
from fleet.oci.releases import PublishedRelease, load_release, release_artifact, releases_of
from fleet.rollout.orders import order_for
from fleet.signing.keyring import signed_of
from fleet.signing.signatures import release_statement
from runtime.contract.codec import canonical_json
from runtime.contract.robot.trust import NAMESPACES, Proof, Signed, Statement, document_digest
from runtime.contract.robot.update import UpdateOrder, UpdateState
from tests.lab.bays import WorkerBay
from tests.lab.site import Site

pytestmark = pytest.mark.xdist_group("lab-trust")

ROBOT = "amr-001"
ONLY = ("--robots", ROBOT)
"""Not the whole fleet: the road's moving tags stay."""
DAY = 86400.0
DEADLINE_S = 240.0
SIGNED = "signed"
#: Stands before the robot's docker in its path, and does something to the disk when a release has just been verified.
WRAPPER = "/usr/local/bin/docker"
AFTER_VERIFYING = """#!/bin/sh
/usr/bin/docker "$@" || exit $?
case " $* " in
  *" config "*) {what} ;;
esac
"""


class SignedFleet:
    """One robot of a fleet that Anna signs for; Ben may too, Eve may not.

    5.0.0 and 5.1.0 differ in the environment alone, 5.2.0 has another engine.
    """

    def __init__(self, site: Site, folder: Path) -> None:
        self.site, self.lab = site, site.lab
        self.keys = folder / "keys"
        self.keys.mkdir(parents=True)
        for name in ("anna", "ben", "eve"):
            command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", name, "-f", str(self.keys / name)]
            subprocess.run(command, check=True, timeout=30)
        self.signers("anna", "ben")
        (self.site.folder / "revoked_keys").write_text("")
        # A busy machine may take long to come back to a robot; how long is not what is shown here.
        self.change(rollout={**self.site.manifest()["rollout"], "ready_timeout": "180s", "confirm_timeout": "180s"})
        self.change(robots=[robot for robot in self.site.manifest()["robots"] if robot["name"] == ROBOT])
        self.trust()
        self.trusts = ""

    # ── the manifest ──

    def change(self, **keys: Any) -> None:
        self.site.save({**self.site.manifest(), **keys})

    def trust(self, **changes: Any) -> None:
        trust = {"signers": "allowed_signers", "sign_with": str(self.keys / "anna"), "revoked": "revoked_keys"}
        self.change(trust={**trust, **changes})

    def public(self, name: str) -> str:
        return " ".join((self.keys / f"{name}.pub").read_text().split()[:2])

    def signers(self, *names: str) -> None:
        lines = [f'{name}@x namespaces="jetfleet.*" {self.public(name)}\n' for name in names]
        (self.site.folder / "allowed_signers").write_text("".join(lines))

    def at(self, version: str, precision: str = "fp32") -> None:
        """Make the manifest that of a version, as a checkout would."""
        manifest = self.site.manifest()
        manifest["version"] = version
        manifest["groups"]["amr"]["models"][0]["precision"] = precision
        manifest["groups"]["amr"]["environment"] = {"OF_RELEASE": version}
        self.site.save(manifest)

    def publish(self, version: str, precision: str = "fp32") -> None:
        self.at(version, precision)
        # What the unsigned road built is attested by nobody: it is built again, once.
        self.site.fleet("build")
        published = self.site.fleet_json("publish")
        assert (published["signed_by"], published["attested_by"]) == (["anna@x"], ["anna@x"])

    # ── orders that no honest controller would give ──

    def wiring(self) -> Wiring:
        return Wiring(self.site.folder)

    def release(self, version: str) -> PublishedRelease:
        wiring = self.wiring()
        return load_release(wiring.registry, wiring.desired.registry.prefix, version)

    def sign(self, statement: Statement, name: str) -> Signed:
        text = canonical_json(statement).decode()
        command = ["ssh-keygen", "-q", "-Y", "sign", "-f", str(self.keys / name), "-n", NAMESPACES[statement.kind]]
        ran = subprocess.run(command, input=text, capture_output=True, text=True, timeout=30, check=True)
        return Signed(text, (ran.stdout,))

    def order(self, version: str, signed_by: str = "anna", **statement: Any) -> UpdateOrder:
        """Return an order for the robot, signed by hand."""
        release, wiring = self.release(version), self.wiring()
        said = replace(release_statement(release, time.time(), 90 * DAY), **statement)
        proof = Proof(release.text, self.sign(said, signed_by))
        robot = wiring.desired.robot(ROBOT)
        order = order_for(release.document, release.digest, robot, issued_at=time.time(), proof=proof)
        assert order is not None
        return order

    def give(self, order: UpdateOrder) -> UpdateState:
        """Give an order past `fleet`'s own checks, and wait for its end."""
        wiring = self.wiring()
        client = RobotClient(wiring.desired.robot(ROBOT).address, wiring.shells, wiring.clock)
        try:
            client.submit(order)
            deadline = wiring.clock.monotonic() + DEADLINE_S
            return client.wait_for(lambda state: state.state == "idle", what="the end", deadline=deadline)
        finally:
            client.close()

    # ── the robot ──

    def exec(self, *argv: str) -> str:
        return self.lab.exec(ROBOT, list(argv)).check()

    def container(self) -> str:
        return self.exec(
            "docker", "inspect", "--format", "{{.Id}} {{.State.StartedAt}}", self.site.container(ROBOT)
        ).strip()

    def status(self) -> dict[str, Any]:
        found: dict[str, Any] = self.site.fleet_json("status")["robots"][0]
        return found

    def at_rest(self, version: str) -> bool:
        """Whether the robot is idle and well on a version, and trusts whom it trusted at first."""
        state = self.lab.ask_updater(ROBOT, "status")
        if state is None or self.lab.exec(ROBOT, ["test", "-e", WRAPPER]).exit_code == 0:
            return False
        runs = state["current"] or {}
        return (state["state"], runs.get("version"), self.trusted()) == ("idle", version, self.trusts)

    def trusted(self) -> str:
        """Return what the robot's root says, whatever its number."""
        root = json.loads(json.loads(self.exec("cat", "/var/lib/jetfleet/trust-root/root.json"))["statement"])
        return str(sorted((name, value) for name, value in root.items() if name != "version"))

    def push_root(self, *names: str) -> list[bool]:
        """Have people sign the root that the manifest asks for, and bring it; return which robots it changed."""
        digest = self.site.fleet_json("keys", "root", code=(0, 4))["digest"]
        for name in names if digest else ():
            key = str(self.keys / name)
            self.site.fleet("keys", "root", "--sign", "--digest", digest, "--key", key, code=(0, 4))
        return [robot["changed"] for robot in self.site.fleet_json("keys", "push")["robots"]]

    def after_verifying(self, what: str) -> None:
        """Have ``what`` (shell) done on the robot's disk once the next release is verified; `honest` undoes it."""
        text = AFTER_VERIFYING.format(what=what)
        self.exec("sh", "-c", f"cat > {WRAPPER} <<'END'\n{text}END\nchmod 755 {WRAPPER}")

    def honest(self) -> None:
        self.exec("rm", "-f", WRAPPER)


@pytest.fixture(scope="module")
def signed(bay: WorkerBay, tmp_path_factory: pytest.TempPathFactory) -> SignedFleet:
    """Robot kept on 5.0.0. The engines and base images are there already: only releases are new.

    The registry is the bay's own, since a test changes a blob on its disk.
    """
    site = bay.on_first(ROBOT, version="1.0.0").site
    site.lab = bay.with_own_registry()
    site.move(f"{site.lab.registry}/{site.prefix}")
    made = SignedFleet(site, tmp_path_factory.mktemp("trust"))
    made.publish("5.0.0")
    made.publish("5.1.0")
    made.publish("5.2.0", precision="fp16")
    site.fleet("keys", "root", "--sign", "--yes")
    site.fleet("bootstrap")
    site.fleet("rollout", "5.0.0", "--yes", "--force", *ONLY)
    made.trusts = made.trusted()
    bay.keep(ROBOT, SIGNED)
    return made


@pytest.fixture
def fleet(bay: WorkerBay, signed: SignedFleet) -> SignedFleet:
    """The robot runs 5.0.0 and is at rest: what refused an order before did not change that."""
    if not signed.at_rest("5.0.0"):
        bay.forget(ROBOT)
        bay.put(ROBOT, state=SIGNED)
    signed.trust()
    return signed


@pytest.fixture
def untouched(fleet: SignedFleet) -> Iterator[None]:
    """What runs before the test runs after it, and was not started anew."""
    before = fleet.container()
    yield
    assert fleet.container() == before


def refused(fleet: SignedFleet, order: UpdateOrder, *says: str) -> None:
    state = fleet.give(order)
    assert state.outcome == "refused", state
    for part in says:
        assert part in state.reason
    assert state.hint


@pytest.mark.usefixtures("untouched")
def test_a_signed_release_runs_and_every_status_says_who_signed(fleet: SignedFleet) -> None:
    status = fleet.status()
    assert (status["release"], status["signed_by"], status["unsigned"]) == ("5.0.0", ["anna@x"], False)
    assert "anna@x" in fleet.site.fleet("status").stdout
    assert "signed    by anna@x" in fleet.exec("fleet-updater", "status")
    state = json.loads(fleet.exec("fleet-updater", "status", "--json"))
    assert (state["signed_by"], state["unsigned"]) == (["anna@x"], False)


@pytest.mark.usefixtures("untouched")
def test_an_order_without_a_proof_is_refused(fleet: SignedFleet) -> None:
    refused(fleet, replace(fleet.order("5.1.0"), proof=None), "carries no signature")


@pytest.mark.usefixtures("untouched")
def test_a_key_that_nobody_knows(fleet: SignedFleet) -> None:
    refused(fleet, fleet.order("5.1.0", signed_by="eve"), "is not an allowed signer", "by 0 of 1")


@pytest.mark.usefixtures("untouched")
def test_a_signature_that_ran_out(fleet: SignedFleet) -> None:
    now = time.time()
    refused(fleet, fleet.order("5.1.0", issued_at=now - 2 * DAY, expires_at=now - DAY), "expired at")


@pytest.mark.usefixtures("untouched")
def test_a_signature_for_another_fleet(fleet: SignedFleet) -> None:
    refused(fleet, fleet.order("5.1.0", fleet="depot"), "signed is fleet depot, the order says warehouse")


@pytest.mark.usefixtures("untouched")
def test_an_order_with_other_content_than_was_signed(fleet: SignedFleet) -> None:
    order = fleet.order("5.1.0")
    refused(fleet, replace(order, environment={"LD_PRELOAD": "/x"}), "the order's environment is not the signed one")


@pytest.mark.usefixtures("untouched")
def test_a_key_revoked_after_bootstrap(fleet: SignedFleet) -> None:
    revoked = fleet.site.folder / "revoked_keys"
    try:
        revoked.write_text(f"{fleet.public('anna')}\n")
        assert fleet.push_root("ben") == [True]
        refused(fleet, fleet.order("5.1.0"), "of anna@x is revoked")
        assert "is revoked" in fleet.site.fleet("rollout", "5.1.0", "--yes", *ONLY, code=4).stderr
    finally:
        revoked.write_text("")
        fleet.push_root("ben")


@pytest.mark.usefixtures("untouched")
def test_a_release_swapped_under_its_tag(fleet: SignedFleet) -> None:
    wiring, release = fleet.wiring(), fleet.release("5.2.0")
    repository = releases_of(wiring.desired.registry.prefix)
    honest = wiring.registry.get_manifest(repository, "5.2.0")
    assert honest is not None
    forged = replace(release.document, environment={ROBOT: {"LD_PRELOAD": "/x"}})
    blob, manifest = release_artifact(forged)
    for each in (blob, *map(Bytes.of, closed(forged)[1].values())):
        wiring.registry.push_blob(repository, each)
    try:
        wiring.registry.put_manifest(repository, "5.2.0", manifest.content, honest.media_type)
        said = fleet.site.fleet("rollout", "5.2.0", "--yes", *ONLY, code=4).stderr
        assert "release 5.2.0 is signed by 0 of 1 allowed signers" in " ".join(said.split())
        order = fleet.order("5.2.0")
        assert order.proof is not None
        signed = signed_of(keyring(wiring).bundles(release)[0][0])
        refused(fleet, replace(order, proof=replace(order.proof, release=signed)), "signed is document sha256:")
    finally:
        wiring.registry.put_manifest(repository, "5.2.0", honest.body, honest.media_type)


@pytest.mark.usefixtures("untouched")
def test_a_blob_changed_on_the_registry_s_disk(fleet: SignedFleet) -> None:
    engine = fleet.release("5.2.0").document.variants[0].engines[0]
    hexed = engine.layer_digest.removeprefix("sha256:")
    path = f"/var/lib/registry/docker/registry/v2/blobs/sha256/{hexed[:2]}/{hexed}/data"
    registry = fleet.lab.lab.client.containers.get(fleet.lab.lab.spec.registry_container)

    def on_disk(command: str) -> None:
        code, output = registry.exec_run(["sh", "-c", command], user="root")
        assert code == 0, output

    # A copy is changed and put in its place: other registries of the lab have the same file.
    spoil = f"cp {path} {path}.bad && printf XXXX | dd of={path}.bad bs=1 seek=70000 conv=notrunc"
    on_disk(f"{spoil} && mv {path} {path}.honest && mv {path}.bad {path}")
    try:
        result = fleet.site.fleet_json("rollout", "5.2.0", "--yes", *ONLY, code=4)
        (robot,) = result["robots"]
        assert robot["outcome"] == "refused", robot
        assert fleet.status()["release"] == "5.0.0"
    finally:
        on_disk(f"mv {path}.honest {path}")


@pytest.mark.usefixtures("untouched")
def test_a_swapped_engine_and_junk_signatures_in_the_registry(fleet: SignedFleet) -> None:
    wiring = fleet.wiring()
    registry, prefix = wiring.registry, wiring.desired.registry.prefix
    spec = next(iter(wiring.desired.engines.values()))
    honest = registry.get_manifest(f"{prefix}/engines", spec.tag)
    assert honest is not None
    evil = Bytes.of(b"no tar at all")
    registry.push_blob(f"{prefix}/engines", evil)
    body = json.loads(honest.body)
    body["layers"][0].update(digest=evil.digest, size=evil.size)
    junk = f"sig-{document_digest(fleet.release('5.2.0').text)[7:19]}-{0:012x}"
    try:
        registry.put_manifest(f"{prefix}/engines", spec.tag, canonical_json(body), honest.media_type)
        said = fleet.site.fleet("publish", code=4).stderr
        assert "not attested by a builder: engine sign_text" in " ".join(said.split())
        registry.push_blob(f"{prefix}/releases", Bytes.of(evil.content))
        registry.put_manifest(
            f"{prefix}/releases", junk, canonical_json({**body, "config": body["layers"][0]}), honest.media_type
        )
        assert junk in "".join(fleet.site.fleet("keys", "verify", "5.2.0").stderr.split())
    finally:
        registry.put_manifest(f"{prefix}/engines", spec.tag, honest.body, honest.media_type)
    assert fleet.site.fleet_json("publish")["already_published"]


def test_two_signers_where_two_must_sign(fleet: SignedFleet) -> None:
    before = fleet.container()
    fleet.trust(threshold=2)
    try:
        assert fleet.push_root("anna", "ben") == [True]
        said = fleet.site.fleet("rollout", "5.1.0", "--yes", *ONLY, code=4).stderr
        assert "by 1 of 2 allowed signers that are needed (anna@x)" in " ".join(said.split())
        refused(fleet, fleet.order("5.1.0"), "by 1 of 2")
        assert fleet.container() == before
        fleet.at("5.1.0")
        document = fleet.site.fleet_json("keys", "verify", "5.1.0", code=4)["document"]
        ben = ("--key", str(fleet.keys / "ben"))
        assert "there is no terminal to ask on" in " ".join(
            fleet.site.fleet("keys", "sign", *ben, code=2).stderr.split()
        )
        signed = fleet.site.fleet_json("keys", "sign", "5.1.0", *ben, "--digest", document)
        assert signed["signed_by"] == ["anna@x", "ben@x"]
        fleet.site.fleet("rollout", "5.1.0", "--yes", *ONLY)
        status = fleet.status()
        assert (status["release"], status["signed_by"]) == ("5.1.0", ["anna@x", "ben@x"])
    finally:
        fleet.trust()
        fleet.push_root("anna", "ben")


def test_an_older_release_needs_a_signed_rollback_order(fleet: SignedFleet) -> None:
    fleet.site.fleet("rollout", "5.1.0", "--yes", *ONLY)
    before = fleet.container()
    assert fleet.status()["release"] == "5.1.0"
    result = fleet.site.fleet_json("rollout", "5.0.0", "--yes", *ONLY, code=4)
    (robot,) = result["robots"]
    assert robot["outcome"] == "refused"
    assert "5.0.0 (signed at" in robot["reason"]
    assert "is older than 5.1.0" in robot["reason"]
    assert fleet.container() == before
    fleet.site.fleet("rollback", "5.0.0", "--yes", *ONLY)
    status = fleet.status()
    assert (status["release"], status["signed_by"]) == ("5.0.0", ["anna@x"])


def test_a_compose_file_changed_after_verification_does_not_run(fleet: SignedFleet) -> None:
    try:
        fleet.after_verifying("sed -i 's/^    restart:.*/    privileged: true/' robot.compose.yaml")
        fleet.site.fleet("rollout", "5.1.0", "--yes", *ONLY)
    finally:
        fleet.honest()
    assert fleet.status()["release"] == "5.1.0"
    container = fleet.site.container(ROBOT)
    assert fleet.exec("docker", "inspect", "--format", "{{.HostConfig.Privileged}}", container).strip() == "false"
    said = fleet.exec("fleet-updater", "status")
    assert "robot.compose.yaml in releases/" in said
    assert "had been changed on the disk: written again" in said


def test_an_engine_changed_after_verification_reverts(fleet: SignedFleet) -> None:
    before = fleet.status()["release"]
    find = "find /var/lib/docker/overlay2 -path '*/diff/opt/jetfleet/engines/sign_text/fp16/engine.*' ! -name '*.json'"
    change = f'for file in $({find}); do printf XXXX | dd of="$file" bs=1 seek=5000 conv=notrunc status=none; done'
    try:
        fleet.after_verifying(change)
        result = fleet.site.fleet_json("rollout", "5.2.0", "--yes", *ONLY, code=4)
    finally:
        fleet.honest()
    (robot,) = result["robots"]
    assert robot["outcome"] == "reverted", robot
    assert "sha256" in robot["reason"] or "corrupt" in robot["reason"], robot
    status = fleet.status()
    assert status["release"] == before
    assert status["health"] in ("ok", "degraded")


def test_after_bootstrap_the_login_is_root_no_more_and_all_goes_on(fleet: SignedFleet) -> None:
    """The robot's own OpenSSH, sudo and account files: what is taken away, and that nothing needs it."""
    site, environment = fleet.site, fleet.site.environment
    environment["JETFLEET_PRIVILEGED_LOGIN"] = "0"
    try:
        said = site.fleet("bootstrap", *ONLY, code=3).stderr
        assert "only jetson could become root at its console" in " ".join(said.split())
        assert "docker" in fleet.exec("id", "-nG", "jetson").split(), "nothing was changed"
        fleet.exec("usermod", "--password", "$6$of.somebody$at.the.console", "root")
        (robot,) = site.fleet_json("bootstrap", *ONLY)["robots"]
        assert (robot["ready"], robot["login"]) == (True, None)
        assert set(fleet.exec("id", "-nG", "jetson").split()) == {"jetson", "jetfleet"}
        for command in (("sudo", "-n", "true"), ("docker", "ps"), ("cat", "/var/lib/jetfleet/current/.env")):
            site.fleet("exec", *ONLY, "--", *command, code=3)
        site.fleet("rollout", "5.1.0", "--yes", *ONLY)
        assert fleet.status()["release"] == "5.1.0"
        assert site.fleet_json("logs", ROBOT, "--tail", "5")["lines"]
        (again,) = site.fleet_json("bootstrap", *ONLY)["robots"]
        assert (again["ready"], again["changed"], again["login"]) == (True, False, None)
    finally:
        del environment["JETFLEET_PRIVILEGED_LOGIN"]
        fleet.exec("usermod", "--append", "--groups", "docker,sudo", "jetson")
        aside = "/etc/sudoers.d/jetson"
        fleet.exec("sh", "-c", f"test ! -e {aside}.jetfleet-aside || mv {aside}.jetfleet-aside {aside}")
        fleet.exec("usermod", "--password", "*", "root")
