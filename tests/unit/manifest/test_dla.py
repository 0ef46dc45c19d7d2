"""A model on the DLA: refused where there is none, and part of the engine where there is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from fleet.errors import ManifestError
from fleet.manifest.load import load_manifest
from fleet.resolve.desired import Desired
from fleet.resolve.images.recipe import recipe_for
from fleet.resolve.resolver import resolve
from tests.fakes.fleet_folder import write_fleet

FOLDER = Path(__file__).resolve().parents[3] / "manifests" / "profiles"


def fleet_on(folder: Path, profile: str, use: dict[str, Any], *robots: dict[str, Any]) -> Path:
    """Write a fleet whose first robot has the use of the group, and one more robot for each of ``robots``."""
    listed: list[dict[str, Any]] = [{"name": "robot-0", "host": "10.0.0.1", "group": "amr"}]
    listed += [
        {"name": f"robot-{number}", "host": f"10.0.1.{number}", "group": "amr", "models": [other]}
        for number, other in enumerate(robots, start=1)
    ]
    fleet = {
        "profiles": [f"profiles/{profile}.yaml"],
        "defaults": {"profile": profile},
        "groups": {"amr": {"models": [{"model": "detector", **use}]}, "scout": None},
        "robots": listed,
    }
    write_fleet(folder, fleet=fleet, model={"gates": {"latency_p99": {"sim-x86": None}}})
    if profile != "sim-x86":
        (folder / "profiles" / f"{profile}.yaml").write_bytes((FOLDER / f"{profile}.yaml").read_bytes())
    return folder


def resolved(folder: Path) -> Desired:
    return resolve(load_manifest(folder), recipe_for)


@pytest.mark.parametrize(
    ("profile", "use", "message", "hint"),
    [
        ("sim-x86", {"precision": "fp16", "dla_core": 0}, "runs onnxruntime, which has no DLA", "remove dla_core"),
        (
            "orin-nano-8gb-jp62",
            {"precision": "fp16", "dla_core": 0},
            "module p3767-0003, which has no DLA: Orin NX 16 GB and Orin NX 8 GB have one",
            "remove",
        ),
        ("orin-nx-8gb-jp62", {"precision": "fp16", "dla_core": 1}, "DLA core 1, but p3767-0001 has 1", "write 0"),
        (
            "orin-nx-16gb-jp72",
            {"precision": "fp16", "dla_core": 0},
            "cannot use the DLA: 10.7 was the last version",
            "JetPack 6",
        ),
        ("orin-nx-16gb-jp62", {"precision": "fp32", "dla_core": 0}, "computes in fp16 and int8 only", "fp16 or int8"),
    ],
)
def test_where_there_is_no_dla_it_is_refused_with_the_reason(
    tmp_path: Path, profile: str, use: dict[str, Any], message: str, hint: str
) -> None:
    with pytest.raises(ManifestError) as caught:
        load_manifest(fleet_on(tmp_path, profile, use))
    (problem,) = caught.value.problems
    assert message in problem.message
    assert hint in problem.hint
    assert problem.path == "groups/amr/models/0/dla_core"
    lines = (tmp_path / "fleet.yaml").read_text().splitlines()
    assert lines[problem.line - 1].strip() == f"dla_core: {use['dla_core']}"


def test_a_third_core_is_no_core(tmp_path: Path) -> None:
    with pytest.raises(ManifestError) as caught:
        load_manifest(fleet_on(tmp_path, "orin-nx-16gb-jp62", {"precision": "fp16", "dla_core": 2}))
    assert caught.value.problems[0].message == "2 is out of range"


def test_an_engine_for_the_dla_is_another_engine(tmp_path: Path) -> None:
    on_dla, on_gpu = {"precision": "fp16", "dla_core": 1}, {"precision": "fp16"}
    both = resolved(fleet_on(tmp_path / "a", "orin-nx-16gb-jp62", on_gpu, {"model": "detector", "dla_core": 1}))
    cores = {spec.job.options.dla_core: spec.key for spec in both.engines.values()}
    assert set(cores) == {None, 1}
    assert len(both.variants) == 2
    alone = resolved(fleet_on(tmp_path / "b", "orin-nx-16gb-jp62", on_dla))
    assert list(alone.engines) == [cores[1]]
