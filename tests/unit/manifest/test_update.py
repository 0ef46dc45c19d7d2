"""When and how a robot may be switched: written in the manifest, inherited, and in the release for every robot."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from fleet.errors import ManifestError
from fleet.manifest.load import load_manifest
from fleet.manifest.schema.manifest_schema import Update
from fleet.resolve.resolver import resolve
from runtime.contract.robot.switching import SwitchRules, Window
from tests.fakes.fleet_folder import write_fleet
from tests.unit.resolve.test_resolver import recipes

NIGHTS = {
    "wait": "1h",
    "download": ["22:00-06:00"],
    "switch": ["mon-fri 02:00-04:00", "sat,sun 00:00-24:00"],
    "download_rate": "2MB/s",
    "handover": "stop-start",
}


def rules(folder: Path, **fleet: Any) -> list[SwitchRules]:
    return [robot.switch for robot in resolve(load_manifest(write_fleet(folder, fleet=fleet)), recipes).robots]


def test_what_is_declared_reaches_the_robot_and_the_rest_keeps_the_manifests_defaults(tmp_path: Path) -> None:
    amr, _, scout = rules(tmp_path, groups={"amr": {"update": NIGHTS}})
    assert amr == SwitchRules(
        wait_s=3600.0,
        download=(Window(22 * 60, 6 * 60),),
        switch=(Window(120, 240, (0, 1, 2, 3, 4)), Window(0, 24 * 60, (5, 6))),
        bytes_per_s=2_000_000,
        handover="stop-start",
    )
    assert scout == SwitchRules(handover="auto")


def test_a_nearer_level_takes_the_whole_of_a_farther_one_away(tmp_path: Path) -> None:
    amr, _, scout = rules(tmp_path, defaults={"update": NIGHTS}, groups={"scout": {"update": {"wait": "5s"}}})
    assert amr.bytes_per_s == 2_000_000
    assert scout == SwitchRules(wait_s=5.0, handover="auto")


@pytest.mark.parametrize(
    ("text", "days"),
    [("fri-mon 01:00-02:00", (0, 4, 5, 6)), ("mon,wed-thu 01:00-02:00", (0, 2, 3)), ("01:00-02:00", ())],
)
def test_days(text: str, days: tuple[int, ...]) -> None:
    update = Update.model_validate({"switch": [text]})
    assert update.switch == (Window(60, 120, days),)
    assert Update.model_validate(update.model_dump(mode="json")) == update


@pytest.mark.parametrize(
    ("rate", "bytes_per_s"), [("500kB/s", 500_000), ("8Mbit/s", 1_000_000), ("1.5MB/s", 1_500_000), ("64kbit/s", 8000)]
)
def test_rates(rate: str, bytes_per_s: int) -> None:
    assert Update.model_validate({"download_rate": rate}).download_rate == bytes_per_s


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"switch": ["2-4"]}, '"mon-fri 02:00-04:00"'),
        ({"switch": ["02:00-04:00 mon"]}, "is not a window"),
        ({"switch": ["moon 02:00-04:00"]}, "is not a window"),
        ({"switch": ["02:60-04:00"]}, "02:60 is not a time of day"),
        ({"switch": ["02:00-25:00"]}, "25:00 is not a time of day"),
        ({"switch": ["24:00-02:00"]}, "begins before 24:00 and ends after 00:00"),
        ({"download": "22:00-06:00"}, "a list is expected"),
        ({"download_rate": 2}, "500kB/s, 2MB/s or 8Mbit/s"),
        ({"download_rate": "2 MB/s"}, "is not a rate"),
        ({"download_rate": "0MB/s"}, "is not a rate"),
        ({"handover": "maybe"}, "not possible"),
        ({"wait": "8d"}, "is not a duration"),
        ({"wait": "200h"}, "out of range"),
        ({"windows": []}, "unknown key"),
    ],
)
def test_what_cannot_be_is_refused_with_line_and_key(tmp_path: Path, settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ManifestError) as caught:
        rules(tmp_path, defaults={"update": settings})
    (problem,) = caught.value.problems
    assert message in f"{problem.message} {problem.hint}"
    assert problem.path.startswith("defaults/update/")
    assert problem.line > 0
