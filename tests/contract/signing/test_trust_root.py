"""The trust root with real keys: what `fleet keys root` writes, the robot's updater judges, over its daemon's socket.

Whoever logs in, and every old checkout, brings what it likes; a robot follows what its root's signers signed.
"""

from __future__ import annotations

import base64
import json
import os
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from fleet.adapters.ssh.ssh_signer import SshSigner
from fleet.bootstrap.updater_package import updater_version, updater_zipapp
from fleet.errors import NotSigned, UsageError
from fleet.signing.root_store import RootStore
from fleet.signing.roots import (
    RootStanding,
    chain_of,
    judge_with,
    sign_root,
    sign_updater,
    standing,
    updater_words,
    why_no_updater,
)
from fleet.signing.trust_spec import TrustSpec
from runtime.contract.codec import canonical_json, to_dict
from runtime.contract.robot.root import MAX_SIGNATURES, HeldRoot, TrustRoot
from runtime.contract.robot.root_chain import RootRefused, follow
from runtime.contract.robot.trust import NAMESPACES, ROOT, Signed, TrustSettings
from runtime.updater.cli import main as updater_cli
from runtime.updater.daemon.believed import Believed
from runtime.updater.daemon.updater import Updater
from runtime.updater.robot.json_socket import Afterwards
from runtime.updater.robot.real_world import RealWorld
from runtime.updater.selfupdate import launcher
from runtime.updater.state.records import Floor, Journal
from runtime.updater.state.world import WorldError
from runtime.updater.transaction.preflight import Refused
from runtime.updater.transaction.trust import check_trust
from runtime.updater.transaction.update_state import Rejected, state_lines
from tests.contract.signing.test_signatures import Keys
from tests.fakes.robots.robot_world import order

FLEET = "warehouse"
NOW = 1_900_000_000.0


class Fleet:
    """A manifest's folder with its trust, and the people who sign."""

    def __init__(self, folder: Path, keys: Keys) -> None:
        self.folder, self.keys, self.signer = folder, keys, SshSigner()
        folder.mkdir()
        self.store = RootStore(folder / "root")
        self.trust = TrustSpec(
            folder / "allowed_signers", 1, revoked=folder / "revoked", expires_s=90 * 86400.0, root=folder / "root"
        )
        self.allow("anna", "ben", "carl")
        (folder / "revoked").write_bytes(b"")

    def allow(self, *names: str) -> None:
        lines = (f'{name}@x namespaces="jetfleet.*" {self.keys.public(name)}\n' for name in names)
        (self.folder / "allowed_signers").write_text("".join(lines))

    def revoke(self, *names: str) -> None:
        (self.folder / "revoked").write_text("".join(f"{self.keys.public(name)}\n" for name in names))

    def asks(self, threshold: int) -> None:
        self.trust = replace(self.trust, threshold=threshold)

    def standing(self) -> RootStanding:
        return standing(FLEET, self.trust, self.store, judge_with(self.signer))

    def sign(self, *names: str) -> RootStanding:
        for name in names:
            sign_root(self.standing(), self.store, self.signer, (self.keys.path(name), self.keys.fingerprint(name)))
        return self.standing()

    def chain(self) -> list[Signed]:
        return list(chain_of(self.standing()))

    def forged(self, root: TrustRoot, *names: str) -> Signed:
        """Sign a root by hand, past all of fleet's own checks."""
        made = (self.keys.sign(self.keys.path(name), root.text, NAMESPACES[ROOT]) for name in names)
        return Signed(root.text, tuple(made))


class Robot:
    """A robot's folders and its daemon's answers, without the socket between."""

    def __init__(self, root: Path) -> None:
        self.root = root
        (root / "state").mkdir(parents=True)
        (root / "state/robot.json").write_text(json.dumps({"robot": "amr-001", "fleet": FLEET}))
        self.world = RealWorld(root, machine=root)
        self.updater = Updater(root / "state", self.world, "amr-001", updater_version())
        self.updater.start()
        self.believed = Believed(root, self.world, self.updater, lambda: ("amr-001", FLEET))

    def take(self, chain: list[Signed]) -> Any:
        return self.believed.answer({"verb": "take-root", "roots": [to_dict(each) for each in chain]})

    def refuses(self, chain: list[Signed], *says: str) -> str:
        before = self.held()
        with pytest.raises(Rejected) as caught:
            self.take(chain)
        for part in says:
            assert part in caught.value.message
        assert caught.value.hint
        assert caught.value.kind == "refused"
        assert self.held() == before
        return caught.value.hint

    def held(self) -> HeldRoot | None:
        return self.world.held_root()

    def legacy(self, settings: TrustSettings, signers: str = "") -> None:
        """Leave what an older version's bootstrap left."""
        (self.root / "trust").mkdir()
        (self.root / "trust/trust.json").write_bytes(canonical_json(settings))
        if signers:
            (self.root / "trust/allowed_signers").write_text(signers)

    def install(self, content: bytes) -> None:
        slot = self.root / "updater" / "a"
        slot.mkdir(parents=True)
        (slot / launcher.NAME).write_bytes(content)
        (self.root / "updater/in-use").symlink_to("a")
        (self.root / "updater" / launcher.NAME).write_text("an older launcher")

    def bring(self, content: bytes, signed: Signed | None, version: str = "") -> Any:
        told: dict[str, Any] = {
            "verb": "take-updater",
            "zipapp": base64.b64encode(content).decode(),
            "signed": None if signed is None else to_dict(signed),
            "version": version or updater_version(),
            "trial_s": 90.0,
        }
        return self.believed.answer(told)


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Keys:
    if shutil.which("ssh-keygen") is None:
        pytest.fail("ssh-keygen is not here: install openssh-client")
    return Keys(tmp_path_factory.mktemp("keys"))


@pytest.fixture
def fleet(tmp_path: Path, keys: Keys) -> Fleet:
    return Fleet(tmp_path / "manifest", keys)


@pytest.fixture
def robot(tmp_path: Path) -> Robot:
    return Robot(tmp_path / "robot")


def version_of(robot: Robot) -> int:
    held = robot.held()
    assert held is not None
    return held.root.version


# ── what fleet keys root writes ──


def test_a_root_needs_the_threshold_and_every_change_a_successor(fleet: Fleet) -> None:
    fleet.asks(2)
    assert "not written down yet" not in fleet.standing().missing
    with pytest.raises(NotSigned, match="no trust root yet, root 1 is signed by 0 of 2"):
        fleet.chain()
    assert "by 1 of 2" in fleet.sign("anna").missing
    assert not fleet.sign("ben").differs
    assert [path.name for path in sorted(fleet.store.folder.glob("*.json"))] == ["1.root.json"]
    fleet.asks(1)
    with pytest.raises(NotSigned, match=r"has root 1, root 2 is signed by 0 of 2"):
        fleet.chain()
    assert "by 1 of 2" in fleet.sign("anna").missing, "the old threshold, not the new one"
    fleet.sign("carl")
    assert len(fleet.chain()) == 2


def test_a_stranger_signs_no_root_and_writes_nothing(fleet: Fleet) -> None:
    with pytest.raises(UsageError, match="may not sign a root"):
        fleet.sign("eve")
    assert not fleet.store.folder.exists()


def test_a_line_for_releases_alone_signs_no_root(fleet: Fleet, keys: Keys) -> None:
    line = f'anna@x namespaces="jetfleet.release,jetfleet.rollback" {keys.public("anna")}\n'
    (fleet.folder / "allowed_signers").write_text(line)
    with pytest.raises(UsageError) as caught:
        fleet.sign("anna")
    assert 'namespaces="jetfleet.*"' in caught.value.hint


def test_what_changes_meanwhile_makes_earlier_signatures_void(fleet: Fleet) -> None:
    fleet.asks(2)
    fleet.sign("anna")
    fleet.revoke("carl")
    found = fleet.sign("ben")
    assert "by 1 of 2" in found.missing
    assert len(list(fleet.store.folder.glob("1.*.sig"))) == 1


def test_a_chain_that_was_tampered_with_is_refused(fleet: Fleet) -> None:
    fleet.sign("anna")
    fleet.allow("anna", "ben")
    fleet.sign("anna")
    path = fleet.store.folder / "1.root.json"
    path.write_text(path.read_text().replace('"threshold":1', '"threshold":2'))
    with pytest.raises(NotSigned, match=r"1.root.json does not count"):
        fleet.standing()


# ── what a robot follows ──


def test_a_robot_takes_its_first_root_and_follows_signed_successors(fleet: Fleet, robot: Robot) -> None:
    fleet.sign("anna")
    assert robot.take(fleet.chain())["root_version"] == 1
    fleet.revoke("carl")
    fleet.sign("ben")
    fleet.asks(2)
    fleet.sign("anna")
    fleet.sign("ben")
    robot.take(fleet.chain())
    assert version_of(robot) == 3, "two steps at once"
    robot.take(fleet.chain())
    assert version_of(robot) == 3, "the same again is fine"
    assert "root      version 3" in state_lines(robot.updater.status())


def test_whoever_logs_in_changes_nothing_without_enough_keys(fleet: Fleet, robot: Robot, keys: Keys) -> None:
    """The kinds of the proof: no signature, a key of one's own, one key of two, an unsigned fleet, another fleet."""
    fleet.asks(2)
    fleet.sign("anna", "ben")
    robot.take(fleet.chain())
    held = robot.held()
    assert held is not None
    root = replace(held.root, version=2)
    eve = replace(root, signers=f"eve@x {keys.public('eve')}\n", threshold=1)
    robot.refuses([Signed(root.text)], "by 0 of 2")
    robot.refuses([fleet.forged(eve, "eve")], "by 0 of 2", "not an allowed signer")
    robot.refuses([fleet.forged(replace(root, threshold=1), "anna")], "by 1 of 2")
    robot.refuses([fleet.forged(replace(root, threshold=1), "anna", "anna")], "by 1 of 2")
    unsigned = TrustRoot(FLEET, 0, unsigned=True)
    robot.refuses([Signed(unsigned.text)], "root 1 of this robot asks for signatures")
    robot.refuses([fleet.forged(replace(unsigned, version=2), "anna")], "asks for signatures")
    robot.refuses([fleet.forged(replace(root, fleet="depot"), "anna", "ben")], "of fleet depot")
    robot.refuses([fleet.forged(replace(root, version=3), "anna", "ben")], "comes after root 2")
    robot.refuses([fleet.forged(replace(root, version=1, max_newest_s=1.0), "anna", "ben")], "another root 1")
    robot.refuses([fleet.forged(replace(root, signers="", threshold=1), "anna", "ben")], "asks for no signature")
    robot.refuses([fleet.forged(eve, "anna", "ben")], "by its own signers: it could have no successor")
    robot.refuses([fleet.forged(root, *["anna"] * (MAX_SIGNATURES + 1))], "17 times")
    robot.refuses([], "0 roots were given")
    with pytest.raises(Refused, match="carries no signature"):
        check_trust(Journal(robot="amr-001", floor=Floor("9.0.0", 1.8e9, 1.8e9)), order("e"), robot.world)


def test_an_old_checkout_brings_no_revoked_key_back(fleet: Fleet, robot: Robot) -> None:
    fleet.sign("anna")
    old = fleet.chain()
    fleet.revoke("carl")
    fleet.asks(2)
    fleet.sign("anna")
    fleet.sign("ben")
    robot.take(fleet.chain())
    hint = robot.refuses(old, "root 1 is older than root 2, which this robot has")
    assert "git pull" in hint


def test_a_key_that_the_last_root_revoked_signs_no_next_one(fleet: Fleet, robot: Robot) -> None:
    fleet.sign("anna")
    fleet.revoke("carl")
    fleet.sign("anna")
    robot.take(fleet.chain())
    held = robot.held()
    assert held is not None
    robot.refuses([fleet.forged(replace(held.root, version=3), "carl")], "is revoked")


def test_unsigned_becomes_signed_at_once_and_signed_unsigned_only_by_its_signers(fleet: Fleet, robot: Robot) -> None:
    unsigned = TrustRoot(FLEET, 0, unsigned=True)
    assert robot.take([Signed(unsigned.text)])["unsigned"]
    fleet.sign("anna")
    assert not robot.take(fleet.chain())["unsigned"]
    fleet.trust = TrustSpec(root=fleet.trust.root)
    with pytest.raises(NotSigned):
        fleet.chain()
    fleet.sign("ben")
    assert robot.take(fleet.chain())["unsigned"]
    assert version_of(robot) == 2


def test_a_robot_of_an_older_version_follows_its_lists_signers_once_and_says_so_until_then(
    fleet: Fleet, robot: Robot, keys: Keys
) -> None:
    robot.legacy(TrustSettings(FLEET, 2), (fleet.folder / "allowed_signers").read_text())
    state = robot.updater.status()
    assert (state.root_version, state.has_root) == (0, False)
    assert any("none yet" in line and "fleet bootstrap" in line for line in state_lines(state))
    fleet.sign("anna")
    robot.refuses(fleet.chain(), "by 1 of 2", "root 0")
    fleet.asks(2)
    fleet.sign("anna", "ben")
    robot.take(fleet.chain())
    # From now on the lists count no more, whatever an old fleet writes there.
    (robot.root / "trust/trust.json").write_bytes(canonical_json(TrustSettings(FLEET, unsigned=True)))
    settings = robot.world.trust()
    assert settings is not None
    assert (settings.unsigned, settings.threshold) == (False, 2)


@pytest.mark.parametrize("damage", ["{", "[]", '{"statement": "{}"}', '{"statement": 1}'])
def test_a_damaged_root_is_no_consent(robot: Robot, fleet: Fleet, damage: str) -> None:
    fleet.sign("anna")
    robot.take(fleet.chain())
    (robot.root / "trust-root/root.json").write_text(damage)
    state = robot.updater.status()
    assert (state.unsigned, state.root_version) == (False, 0)
    assert "root.json cannot be read" in state.stale
    with pytest.raises(WorldError, match="cannot be read") as caught:
        robot.take(fleet.chain())
    assert "robot-recovery.md" in caught.value.hint


# ── when the keys are lost ──


def console(robot: Robot, *words: str) -> int:
    return updater_cli.main(["--root", str(robot.root), "--socket", str(robot.root / "none.sock"), *words])


def test_root_s_own_hands_at_the_console_bring_a_robot_back(
    fleet: Fleet, robot: Robot, capsys: pytest.CaptureFixture[str]
) -> None:
    """Two of three keys are gone: no root that those left sign is taken, until somebody is root at the robot."""
    fleet.asks(2)
    fleet.sign("anna", "ben")
    robot.take(fleet.chain())
    shutil.rmtree(fleet.store.folder)
    fleet.allow("carl", "dora")
    fleet.sign("carl", "dora")
    robot.refuses(fleet.chain(), "another root 1")
    held = robot.held()
    assert held is not None
    lost = replace(held.root, version=2, signers=(fleet.folder / "allowed_signers").read_text())
    assert "robot-recovery.md" in robot.refuses([fleet.forged(lost, "carl", "dora")], "by 1 of 2", "root 1")
    assert console(robot, "forget-root", "amr-002") == 2
    assert "this robot is amr-001" in capsys.readouterr().err
    assert version_of(robot) == 1
    assert console(robot, "forget-root", "amr-001") == 0
    assert "fleet bootstrap --robots amr-001" in capsys.readouterr().err
    assert robot.held() is None
    with pytest.raises(Refused, match="this robot has no trust settings"):
        check_trust(Journal(robot="amr-001"), order("e"), robot.world)
    robot.take(fleet.chain())
    held = robot.held()
    assert held is not None
    assert "dora@x" in held.root.signers


def test_only_the_folder_s_owner_forgets(robot: Robot, fleet: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
    fleet.sign("anna")
    robot.take(fleet.chain())
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert console(robot, "forget-root", "amr-001") == 4
    assert version_of(robot) == 1


# ── the updater ──


@pytest.fixture
def updated(fleet: Fleet, robot: Robot, monkeypatch: pytest.MonkeyPatch) -> tuple[Fleet, Robot]:
    """A signed robot with an older updater; it is the time at which statements are made."""
    monkeypatch.setattr("runtime.updater.robot.real_world.time.time", lambda: NOW)
    fleet.asks(2)
    fleet.sign("anna", "ben")
    robot.take(fleet.chain())
    robot.install(b"the older one")
    return fleet, robot


def statement(of: Fleet, *names: str, version: str = "", content: bytes = b"", at: float = NOW, **more: Any) -> Signed:
    """Have people sign for an updater, as `fleet keys root --sign` does."""
    made = updater_words(FLEET, version or updater_version(), content or updater_zipapp(), at, 90 * 86400.0)
    for name in names:
        key = (of.keys.path(name), of.keys.fingerprint(name))
        sign_updater(of.standing(), of.store, of.signer, key, replace(made, **more))
    found = of.store.updater()
    assert found is not None
    return found


def test_a_signed_updater_goes_on_trial_and_its_statement_is_kept_once_it_stays(updated: tuple[Fleet, Robot]) -> None:
    fleet, robot = updated
    answer = robot.bring(updater_zipapp(), statement(fleet, "anna", "ben"))
    assert isinstance(answer, Afterwards), "the daemon ends, and is started again on trial"
    folder = robot.root / "updater"
    trial = launcher.read_trial(folder)
    assert trial is not None
    assert (trial.slot, trial.version) == ("b", updater_version())
    assert (folder / "b" / launcher.NAME).read_bytes() == updater_zipapp()
    assert (folder / launcher.NAME).read_text().startswith('"""Starts the updater in use')
    assert robot.world.updater_statement() is None, "an updater that fails its trial raises no floor"
    launcher.keep(folder)
    robot.believed.keep_statement()
    assert robot.world.updater_statement() == fleet.store.updater()


def refuses_updater(robot: Robot, content: bytes, signed: Signed | None, *says: str) -> None:
    with pytest.raises(Rejected) as caught:
        robot.bring(content, signed)
    for part in says:
        assert part in caught.value.message
    assert caught.value.hint
    assert not (robot.root / "updater/b").exists()


def test_an_updater_that_too_few_signed_is_not_installed(updated: tuple[Fleet, Robot]) -> None:
    fleet, robot = updated
    content = updater_zipapp()
    refuses_updater(robot, content, None, "carries no signature")
    refuses_updater(robot, content, statement(fleet, "anna"), "by 1 of 2")
    both = statement(fleet, "ben")
    refuses_updater(robot, content + b" ", both, "signed is the updater sha256:", "this one is")
    longer = both.statement.replace("90", "91")
    refuses_updater(robot, content, replace(both, statement=longer), "not belong to this statement as jetfleet.updater")


def test_an_updater_out_of_time_or_of_another_fleet(updated: tuple[Fleet, Robot]) -> None:
    fleet, robot = updated
    content = updater_zipapp()
    for changes, says in (
        ({"expires_at": NOW - 1.0, "issued_at": NOW - 2.0}, "expired at"),
        ({"issued_at": NOW + 3 * 86400.0}, "the updater was signed at"),
        ({"expires_at": NOW + 400 * 86400.0}, "signed for 400.0 days"),
        ({"fleet": "depot"}, "of fleet depot"),
        ({"kind": "release"}, "signed is release"),
    ):
        shutil.rmtree(fleet.store.folder)
        fleet.sign("anna", "ben")
        refuses_updater(robot, content, statement(fleet, "anna", "ben", **changes), says)


def test_an_older_updater_is_refused_however_well_it_is_signed(updated: tuple[Fleet, Robot]) -> None:
    fleet, robot = updated
    robot.world.keep_updater_statement(statement(fleet, "anna", "ben", version="2.0.0+abc", content=b"two"))
    older = statement(fleet, "anna", "ben", version="1.9.0+abc", content=b"one", at=NOW + 60.0)
    refuses_updater(robot, b"one", older, "1.9.0+abc", "is older than 2.0.0+abc")
    again = statement(fleet, "anna", "ben", version="2.0.0+abd", content=b"three", at=NOW - 60.0)
    refuses_updater(robot, b"three", again, "is older than 2.0.0+abc")


def test_a_clock_that_was_never_set_takes_no_updater(
    updated: tuple[Fleet, Robot], monkeypatch: pytest.MonkeyPatch
) -> None:
    fleet, robot = updated
    good = statement(fleet, "anna", "ben")
    monkeypatch.setattr("runtime.updater.robot.real_world.time.time", lambda: 60.0)
    refuses_updater(robot, updater_zipapp(), good, "clock was never set")


def test_an_unsigned_robot_takes_any_updater(robot: Robot) -> None:
    robot.take([Signed(TrustRoot(FLEET, 0, unsigned=True).text)])
    robot.install(b"the older one")
    assert isinstance(robot.bring(updater_zipapp(), None), Afterwards)


def test_fleet_says_what_robots_would(updated: tuple[Fleet, Robot]) -> None:
    fleet, _ = updated
    root, judge = fleet.standing().wanted, judge_with(fleet.signer)
    mine = updater_words(FLEET, updater_version(), updater_zipapp(), NOW, 90 * 86400.0)
    assert why_no_updater(root, None, mine, judge) == "it has no signature"
    assert "by 1 of 2" in why_no_updater(root, statement(fleet, "anna"), mine, judge)
    both = statement(fleet, "ben")
    assert why_no_updater(root, both, mine, judge) == ""
    assert "at hand is 9.9.9" in why_no_updater(root, both, replace(mine, version="9.9.9"), judge)
    assert "expired" in why_no_updater(root, both, replace(mine, issued_at=NOW + 91 * 86400.0), judge)


def test_both_sides_follow_one_rule(fleet: Fleet, robot: Robot) -> None:
    """The operator's judge and the robot's give the same end, and the same refusal."""
    fleet.sign("anna")
    chain = fleet.chain()
    assert follow(None, FLEET, chain, judge_with(fleet.signer)) == follow(None, FLEET, chain, robot.world.judge)
    bad = [replace(chain[0], signatures=())]
    says = []
    for judge in (judge_with(fleet.signer), robot.world.judge):
        with pytest.raises(RootRefused) as caught:
            follow(None, FLEET, bad, judge)
        says.append((caught.value.reason, caught.value.hint))
    assert says[0] == says[1]
