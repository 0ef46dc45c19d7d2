"""Loading as a whole: all problems at once, hostile files, and what a valid manifest comes to."""

from __future__ import annotations

import os
import socket
import time
import warnings
from pathlib import Path
from typing import Any

import pytest
from pytest_socket import SocketBlockedError

from fleet.errors import ManifestError
from fleet.manifest.load import load_manifest
from fleet.manifest.yaml import yaml_text
from fleet.manifest.yaml.yaml_text import parse_document
from tests.fakes.fleet_folder import FLEET as FLEET_DATA
from tests.fakes.fleet_folder import write_fleet
from tests.unit.manifest.texts import FLEET, MODEL, PROFILE, line_of, problems_of


def test_unit_tests_have_no_sockets() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with pytest.raises(SocketBlockedError):
            socket.socket(socket.AF_INET)


def test_valid(tmp_path: Path) -> None:
    loaded = load_manifest(write_fleet(tmp_path, fleet_text=FLEET))
    assert loaded.manifest.fleet == "testing"
    assert list(loaded.profiles) == ["sim-x86"]
    assert loaded.model_files == {"detector": tmp_path / "models" / "detector.yaml"}
    assert loaded.root == tmp_path
    assert load_manifest(tmp_path / "fleet.yaml").manifest == loaded.manifest


def test_where(tmp_path: Path) -> None:
    loaded = load_manifest(write_fleet(tmp_path, fleet_text=FLEET))
    assert loaded.where(("robots", 1, "host")) == (str(tmp_path / "fleet.yaml"), line_of(FLEET, "amr-002"))
    assert loaded.where(("rollout", "parallel")) == (str(tmp_path / "fleet.yaml"), line_of(FLEET, "rollout"))


def test_relative_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_fleet(tmp_path, fleet_text=FLEET.replace("[profiles/sim-x86.yaml]", "[profiles/sim-x86.yaml, ../up.yaml]"))
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ManifestError) as caught:
        load_manifest(Path())
    (problem,) = caught.value.problems
    assert (problem.file, problem.path) == ("fleet.yaml", "profiles/1")
    assert "outside" in problem.message


def test_all_problems_of_all_files_at_once(tmp_path: Path) -> None:
    fleet = (
        FLEET.replace("version: 1.0.0", "version: 1.10")
        .replace("host: 10.0.0.11,", "hots: 10.0.0.11,")
        .replace("group: scout}", "group: scoot}")
        .replace("fp16", "fp8")
        .replace("[1, 100%]", "[1, 50%]")
        .replace("user: jetson}", "user: jetson, power_mode: 99W}")
    )
    profile = PROFILE.replace("linux/amd64", "linux/riscv64") + "colour: red\n"
    model = MODEL.replace("tensor: image", "tensor: img").replace("golden/detector.npz", "nope.npz") + "extra: 1\n"
    problems = problems_of(tmp_path, fleet=fleet, profile=profile, model=model, calibration=1)
    found = {(Path(problem.file).name, problem.path) for problem in problems}
    assert {
        ("fleet.yaml", "version"),
        ("fleet.yaml", "robots/0/hots"),
        ("fleet.yaml", "robots/0/host"),
        ("fleet.yaml", "robots/2/group"),
        ("fleet.yaml", "groups/scout/models/0/precision"),
        ("fleet.yaml", "rollout/waves"),
        ("sim-x86.yaml", "platform"),
        ("sim-x86.yaml", "colour"),
        ("detector.yaml", "extra"),
        ("detector.yaml", "inputs/0/tensor"),
        ("detector.yaml", "golden/data"),
        ("detector.yaml", "precisions/int8/calibration"),
    } <= found
    assert all(problem.hint and problem.message and problem.line for problem in problems)
    files = [Path(problem.file).name for problem in problems]
    assert sorted(files, key=["fleet.yaml", "sim-x86.yaml", "detector.yaml"].index) == files
    lines = [problem.line for problem in problems if Path(problem.file).name == "fleet.yaml"]
    assert lines == sorted(lines)


def test_a_broken_file_does_not_make_its_name_unknown(tmp_path: Path) -> None:
    problems = problems_of(tmp_path, profile="name: sim-x86\nplatform: linux/amd64\n", model="name: [\n")
    assert all("no profile" not in p.message and "no model" not in p.message for p in problems)
    assert {Path(problem.file).name for problem in problems} == {"sim-x86.yaml", "detector.yaml"}


def test_a_list_of_only_wrong_entries_is_not_called_empty(tmp_path: Path) -> None:
    problems = problems_of(tmp_path, fleet=FLEET.replace(", host: ", ", hots: "))
    assert {problem.path for problem in problems} == {f"robots/{i}/{key}" for i in range(3) for key in ("host", "hots")}


def test_one_mistake_in_a_group_is_said_once(tmp_path: Path) -> None:
    robots = [{"name": f"amr-{i:04}", "host": f"h{i}", "group": "amr"} for i in range(500)]
    path = write_fleet(
        tmp_path,
        fleet={"robots": robots, "groups": {"amr": {"models": [{"model": "detector", "precision": "int8"}]}}},
        model={"precisions": None, "gates": {"accuracy": None}},
    )
    with pytest.raises(ManifestError) as caught:
        load_manifest(path)
    (problem,) = caught.value.problems
    assert problem.path == "groups/amr/models/0/precision"


@pytest.mark.parametrize(
    ("key", "file"),
    [("profiles", "profiles/copy.yaml"), ("models", "models/copy.yaml")],
)
def test_two_files_of_one_name(key: str, file: str, tmp_path: Path) -> None:
    path = write_fleet(tmp_path, fleet={key: [*FLEET_DATA[key], file]})
    (path / file).write_bytes((path / FLEET_DATA[key][0]).read_bytes())
    with pytest.raises(ManifestError) as caught:
        load_manifest(path)
    (problem,) = caught.value.problems
    assert problem.file == str(path / file)
    assert problem.path == "name"


def test_no_such_manifest(tmp_path: Path) -> None:
    with pytest.raises(ManifestError) as caught:
        load_manifest(tmp_path / "nothing")
    assert "fleet init" in caught.value.problems[0].hint


@pytest.mark.parametrize("name", ["a" * 300, "a/" * 2500 + "b"])
def test_a_path_that_no_file_system_takes(name: str, tmp_path: Path) -> None:
    problems = problems_of(tmp_path, fleet=FLEET.replace("[profiles/sim-x86.yaml]", f"[profiles/sim-x86.yaml, {name}]"))
    assert [problem.path for problem in problems] == ["profiles/1"]
    problems = problems_of(tmp_path, model=MODEL.replace("golden/detector.npz", name))
    assert [problem.path for problem in problems] == ["golden/data"]
    problems = problems_of(tmp_path, model=MODEL.replace("calibration: calibration", f"calibration: {name}"))
    assert [problem.path for problem in problems] == ["precisions/int8/calibration"]


def test_a_pipe_is_not_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ManifestError) as caught:
        load_manifest(tmp_path / "pipe")
    assert "is not a file" in caught.value.problems[0].message


def test_a_robot_with_its_own_port_shares_an_address(tmp_path: Path) -> None:
    robots = [{"name": f"r{port}", "host": "h", "port": port, "group": "amr"} for port in (22, 2201)]
    load_manifest(write_fleet(tmp_path, fleet={"robots": robots}))


# ── hostile files ────────────────────────────────────────────────────────────────────────────────────────────────


HOSTILE: dict[str, tuple[bytes, str]] = {
    "not UTF-8": (FLEET.encode().replace(b"testing", b"t\xe9sting", 1), "not UTF-8"),
    "UTF-16": (FLEET.encode("utf-16"), "not UTF-8"),
    "binary": (bytes(range(256)) * 10, "not UTF-8"),
    "null": (b"null\n", "not a mapping of"),
    "zeros": (b"\x00" * 1000, "not YAML"),
    "alias bomb": (
        b"a: &a [x, x]\n" + b"".join(b"%c: &%c [*%c, *%c]\n" % (i, i, i - 1, i - 1) for i in range(98, 122)),
        "aliases",
    ),
    "deep brackets": (b"[" * 300_000, "deeper than"),
    "deep dashes": (b"- " * 300_000, "deeper than"),
    "deep braces": (b"{a: " * 300_000, "deeper than"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile(name: str, tmp_path: Path) -> None:
    content, says = HOSTILE[name]
    started = time.process_time()
    (problem,) = problems_of(tmp_path, fleet=content)
    assert says in problem.message
    assert problem.hint
    assert problem.line >= 1
    assert time.process_time() - started < 5


def test_line_of_a_byte_that_is_not_utf8(tmp_path: Path) -> None:
    (problem,) = problems_of(tmp_path, fleet=FLEET.encode().replace(b"hall-1", b"h\xe4lle"))
    assert problem.line == line_of(FLEET, "hall-1")


def test_a_file_of_100_mb_is_refused_without_reading_it(tmp_path: Path) -> None:
    path = write_fleet(tmp_path)
    with (path / "fleet.yaml").open("r+b") as file:
        file.truncate(100 * 1024 * 1024)
    started = time.process_time()
    with pytest.raises(ManifestError) as caught:
        load_manifest(path)
    assert time.process_time() - started < 0.5
    (problem,) = caught.value.problems
    assert "larger than 8 MB" in problem.message


def test_without_libyaml(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import yaml

    path = write_fleet(tmp_path, fleet_text=FLEET)
    fast = load_manifest(path)
    monkeypatch.setattr(yaml_text, "_PARSER", yaml.SafeLoader)
    assert load_manifest(path).manifest == fast.manifest
    (problem,) = problems_of(tmp_path, fleet=FLEET.replace("  - models", "\t- models"))
    assert "a tab" in problem.message


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1.10", 1.1), ("-3", -3), ("0x1f", 31), ("1e3", 1000.0), (".5", 0.5), ("0", 0), ("0.0", 0.0),
        ("true", True), ("False", False), ("~", None), ("", None), ("null", None),
        ('"12"', "12"), ("'true'", "true"), ("10.0.0.11", "10.0.0.11"), ("15W", "15W"), ("22:75", "22:75"),
        ("2024-01", "2024-01"), ("1_a", "1_a"), (".info", ".info"), ("100%", "100%"), ("-", "-"),
    ],
)  # fmt: skip
def test_plain_values(text: str, value: Any) -> None:
    document = parse_document(f"key: {text}\n".encode() if text != "-" else b"key: '-'\n")
    assert document.flaws == ()
    assert document.value == {"key": value}
    assert type(document.value["key"]) is type(value)


@pytest.mark.parametrize("text", ["yes", "No", "on", "OFF", "010", "-007"])
def test_values_that_readers_disagree_on(text: str) -> None:
    (flaw,) = parse_document(f"key: {text}\n".encode()).flaws
    assert text in flaw.message
    assert "quotes" in flaw.hint
