"""An updater that comes back from a trial reads what the newer one wrote meanwhile."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from runtime.contract.codec import canonical_json, digest_of, to_dict
from runtime.updater.storage.journal import HISTORY, JOURNAL, History, JournalStore
from tests.fakes.robots.robot_world import order
from tests.unit.updater.robot import Robot


def newer(value: Any) -> Any:
    """Return what an updater would write that knows one thing more of everything."""
    if isinstance(value, dict):
        return {**{key: newer(item) for key, item in value.items()}, "learned_later": {"deep": [1, None, "x"]}}
    return [newer(item) for item in value] if isinstance(value, list) else value


def write_newer(folder: Path) -> None:
    """Write journal and history anew, as a newer updater would."""
    journal, complaints = JournalStore(folder).load()
    assert complaints == []
    data = newer(to_dict(journal))
    order_, baseline = data["order"], data["baseline"] or {}
    # Names of others, not fields of ours.
    others = (order_["environment"], order_["secrets"], order_["compose"], data.get("signers", {}))
    for names in (*others, baseline.get("checks", {})):
        names.pop("learned_later", None)
    envelope = {"checksum": digest_of(data), "journal": data, "written_by": "a newer one"}
    (folder / JOURNAL).write_bytes(canonical_json(envelope) + b"\n")
    assert JournalStore(folder).load() == (journal, [])
    lines = [json.dumps(newer(json.loads(line))) for line in (folder / HISTORY).read_text().splitlines()]
    (folder / HISTORY).write_text("\n".join(lines) + "\n")


def test_the_older_one_goes_on_with_the_newer_ones_journal(robot: Robot) -> None:
    robot.on("1")
    robot.on("2")
    before, history = robot.journal, History(robot.root / "state").entries()
    write_newer(robot.root / "state")
    assert "learned_later" in (robot.root / "state" / JOURNAL).read_text()
    robot.boot()
    assert robot.journal == before
    assert History(robot.root / "state").entries() == history
    assert robot.run(order("3")).outcome == "committed"
    robot.assert_whole()


def test_an_order_that_the_newer_one_began_is_ended_by_the_older_one(robot: Robot) -> None:
    robot.on("1")
    robot.updater.submit(order("2"))
    robot.drive(until=lambda state: state.state == "probation")
    write_newer(robot.root / "state")
    robot.boot()
    assert robot.drive().outcome == "committed"
    robot.assert_whole()
