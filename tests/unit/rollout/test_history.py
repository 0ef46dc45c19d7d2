"""The audit trail, and which release a rollback goes to."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import replace

import pytest

from fleet.errors import RegistryError, UsageError
from fleet.oci.image_spec import Bytes
from fleet.rollout import audit
from fleet.rollout.audit import FAILED, NOBODY_REACHED, ROLLBACK, ROLLOUT, SUCCEEDED, AuditRecord
from fleet.rollout.rollback import choose_target
from tests.fakes.registries.registry import FakeRegistry
from tests.fakes.robots.rollout_site import RolloutSite, release

PUBLISHED = ["1.0.0", "1.1.0", "1.2.0", "1.3.0"]


def record(n: int, version: str, kind: str = ROLLOUT, outcome: str = SUCCEEDED, selector: str = "") -> AuditRecord:
    return AuditRecord(f"2026-{n:03}", kind, "a@b", float(n), "warehouse", version, outcome=outcome, selector=selector)


def newest_first(*records: AuditRecord) -> list[AuditRecord]:
    return list(reversed(records))


def test_records_come_back_newest_first_and_whole() -> None:
    registry, site = FakeRegistry(), RolloutSite(2)
    site.updaters["r1"].refuse = True
    result = site.roll(release("1.0.0", site.content("a")), policy={"waves": ["100%"], "success": "50%"})
    for at in (1_800_000_000.0, 1_800_000_100.0):
        made = audit.record_of(result, kind=ROLLOUT, fleet="warehouse", release_digest="sha256:x", at=at)
        audit.append(registry, "warehouse", made)
    newest, oldest = audit.history(registry, "warehouse")
    assert (newest.at, oldest.at) == (1_800_000_100.0, 1_800_000_000.0)
    assert newest.id.startswith("20270115T080140Z-")
    assert newest.outcome == SUCCEEDED
    assert newest.counts == {"committed": 1, "refused": 1}
    assert [(robot.name, robot.outcome, robot.reason) for robot in newest.robots] == [
        ("r0", "committed", ""),
        ("r1", "refused", "because the test says so"),
    ]
    assert audit.history(registry, "warehouse", limit=1) == [newest]
    assert audit.history(registry, "nobody") == []


def put_junk(registry: FakeRegistry, tag: str, content: bytes | None) -> None:
    """Put under a tag what is no record; None: not even a manifest of ours."""
    body = b'{"layers": []}'
    if content is not None:
        blob = Bytes.of(content)
        registry.push_blob("warehouse/audit", blob)
        body = json.dumps({"config": {"digest": blob.digest, "size": blob.size}}).encode()
    registry.put_manifest("warehouse/audit", tag, body, "application/json")


JUNK = {"no manifest": None, "no json": b"\xff", "deep": b"[" * 100_000, "large": b'{"at":1' + b"0" * 400 + b"}"}


@pytest.mark.parametrize("content", JUNK.values(), ids=JUNK.keys())
def test_junk_among_the_records_is_named_and_skipped(content: bytes | None) -> None:
    registry, said = FakeRegistry(), list[str]()
    good = record_at("20270115T080000Z-0000000a")
    audit.append(registry, "warehouse", good)
    for number in range(3):
        put_junk(registry, f"99991231T235959Z-0000000{number}", content)
    put_junk(registry, "junk", content)
    assert audit.history(registry, "warehouse", 1, said.append) == [good], "the newest tags are junk"
    assert len(said) == 4
    assert "1 tags are no records, such as junk" in said[0]
    assert "99991231T235959Z-00000002" in said[1]


def test_a_record_under_another_s_tag_is_junk() -> None:
    registry, said = FakeRegistry(), list[str]()
    audit.append(registry, "warehouse", record_at("20270115T080000Z-0000000a"))
    manifest = registry.get_manifest("warehouse/audit", "20270115T080000Z-0000000a")
    assert manifest is not None
    registry.put_manifest("warehouse/audit", "20280115T080000Z-0000000b", manifest.body, manifest.media_type)
    assert [each.id for each in audit.history(registry, "warehouse", 20, said.append)] == ["20270115T080000Z-0000000a"]
    assert "it holds the record 20270115T080000Z-0000000a" in said[0]


def test_a_registry_that_does_not_answer_is_no_junk() -> None:
    registry = FakeRegistry()
    audit.append(registry, "warehouse", record_at("20270115T080000Z-0000000a"))

    def gone(verb: str, _target: str) -> None:
        if verb != "tags":
            raise RegistryError("registry.test:5000: does not answer")

    registry.hook = gone
    with pytest.raises(RegistryError, match="does not answer"):
        audit.history(registry, "warehouse")


def record_at(tag: str) -> AuditRecord:
    return replace(record(1, "1.0.0"), id=tag)


@pytest.mark.parametrize(
    ("history", "target"),
    [
        ([record(1, "1.0.0"), record(2, "1.1.0")], "1.0.0"),
        ([record(1, "1.0.0"), record(2, "1.1.0"), record(3, "1.2.0", outcome=FAILED)], "1.0.0"),
        ([record(1, "1.0.0"), record(2, "1.1.0"), record(3, "1.1.0")], "1.0.0"),
        ([record(1, "1.0.0"), record(2, "1.1.0"), record(3, "1.2.0", selector="amr-001")], "1.0.0"),
        ([record(1, "1.0.0"), record(2, "1.1.0"), record(3, "1.2.0"), record(4, "1.1.0", ROLLBACK)], "1.0.0"),
        ([record(1, "1.0.0"), record(2, "0.9.0"), record(3, "1.2.0")], "1.0.0"),
    ],
)
def test_the_release_before_the_last_that_succeeded(history: list[AuditRecord], target: str) -> None:
    assert choose_target(newest_first(*history), PUBLISHED) == target


def counted(n: int, version: str, outcome: str = SUCCEEDED, **counts: int) -> AuditRecord:
    return dataclasses.replace(record(n, version, outcome=outcome), counts=counts)


def test_a_success_that_no_robot_committed_is_never_offered() -> None:
    """Such records exist: an earlier fleet wrote them when every robot was offline."""
    ran, empty = counted(1, "1.0.0", committed=3), counted(2, "1.1.0", offline=3)
    now = counted(3, "1.2.0", committed=3)
    assert choose_target(newest_first(ran, empty, now), PUBLISHED) == "1.0.0"
    with pytest.raises(UsageError, match="no earlier successful rollout") as caught:
        choose_target(newest_first(empty, now), PUBLISHED)
    assert "1.1.0" not in caught.value.message


def test_robots_left_on_a_release_that_failed_go_back_to_the_last_that_succeeded() -> None:
    before = [counted(1, "1.0.0", committed=3), counted(2, "1.1.0", committed=3)]
    stopped = counted(3, "1.2.0", FAILED, committed=2, lost=1)
    assert choose_target(newest_first(*before, stopped), PUBLISHED) == "1.1.0"
    undone = dataclasses.replace(stopped, counts={"rolled back": 2, "reverted": 1})
    assert choose_target(newest_first(*before, undone), PUBLISHED) == "1.0.0"


def test_what_nobody_reached_is_called_so() -> None:
    site = RolloutSite(2)
    for host in site.hosts.values():
        host.online = False
    result = site.roll(release("1.0.0", site.content("a")))
    made = audit.record_of(result, kind=ROLLOUT, fleet="warehouse", release_digest="sha256:x", at=0.0)
    assert made.outcome == NOBODY_REACHED
    assert made.counts == {"offline": 2}


def test_nothing_to_go_back_to() -> None:
    once = [record(1, "1.0.0"), record(2, "1.1.0"), record(3, "1.0.0", ROLLBACK)]
    for history in ([], [record(1, "1.0.0")], newest_first(*once)):
        with pytest.raises(UsageError, match="no earlier successful rollout") as caught:
            choose_target(history, PUBLISHED)
        assert caught.value.exit_code == 2
        assert "fleet rollback" in caught.value.hint


def test_a_version_by_name_must_be_published() -> None:
    assert choose_target([], PUBLISHED, "1.3.0") == "1.3.0"
    with pytest.raises(UsageError, match=r"version 9\.9\.9 is not published; robots committed none yet"):
        choose_target([], PUBLISHED, "9.9.9")


def test_an_operator_without_a_name_is_a_number(monkeypatch: pytest.MonkeyPatch) -> None:
    def nobody() -> str:
        raise KeyError("getpwuid(): uid not found: 4242")

    monkeypatch.setattr(audit.getpass, "getuser", nobody)
    assert audit.operator().startswith("uid ")
