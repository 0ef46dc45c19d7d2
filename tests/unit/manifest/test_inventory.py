"""Robots from a CSV file and from a program: each row is a robot, each broken row is named by its line."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from fleet.cli.wiring import Wiring
from fleet.errors import ManifestError, Problem
from fleet.manifest.load import load_manifest
from fleet.resolve.images.recipe import recipe_for
from fleet.resolve.resolver import resolve
from tests.fakes.fleet_folder import write_fleet

HEAD = "name,host,group,user,port,identity_file,jump,labels.site,environment.ROS_DOMAIN_ID\n"
ROW = "cart-1,10.0.1.1,amr,,2222,,anna@bastion:2200,hall-9,7\n"


def with_csv(folder: Path, text: str | bytes, **fleet: Any) -> Path:
    write_fleet(folder, fleet={"inventory": {"csv": "robots.csv"}, **fleet})
    (folder / "robots.csv").write_bytes(text if isinstance(text, bytes) else text.encode())
    return folder


def with_command(folder: Path, program: str, **inventory: Any) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "list.py").write_text(program)
    return write_fleet(folder, fleet={"inventory": {"command": f"{sys.executable} list.py", **inventory}})


def problems(folder: Path) -> tuple[Problem, ...]:
    with pytest.raises(ManifestError) as caught:
        load_manifest(folder)
    return caught.value.problems


def test_rows_of_a_csv_are_robots_after_those_of_the_manifest(tmp_path: Path) -> None:
    folder = with_csv(tmp_path, "\ufeff" + HEAD + ROW + "\n" + 'cart-2,10.0.1.2,scout,,,,,"hall-1",\n')
    robots = resolve(load_manifest(folder), recipe_for).robots
    assert [robot.name for robot in robots] == ["amr-001", "amr-002", "scout-001", "cart-1", "cart-2"]
    first, second = robots[3:]
    assert (first.address.port, first.address.jump) == (2222, ("anna@bastion:2200",))
    assert (first.labels["site"], first.environment["ROS_DOMAIN_ID"]) == ("hall-9", "7")
    assert (second.address.port, second.address.jump, second.labels["site"]) == (22, None, "hall-1")


def test_an_inventory_is_enough(tmp_path: Path) -> None:
    folder = with_csv(tmp_path, HEAD + ROW, robots=None)
    assert [robot.name for robot in load_manifest(folder).manifest.robots] == ["cart-1"]


def test_a_fleet_of_nobody_is_refused(tmp_path: Path) -> None:
    (found,) = problems(write_fleet(tmp_path, fleet={"robots": []}))
    assert "has no robots" in found.message


@pytest.mark.parametrize(
    ("text", "line", "path", "says"),
    [
        (HEAD + ROW + "cart-2,10.0.1.2\n", 3, "", "has 2 cells for 9 columns"),
        (HEAD + "\n" + "cart-2,,amr,,,,,,\n", 3, "host", "host is missing"),
        (HEAD + "Cart 2,10.0.1.2,amr,,,,,,\n", 2, "name", "'Cart 2' is not a valid name"),
        (HEAD + "cart-2,10.0.1.2:22,amr,,,,,,\n", 2, "host", "has a port in it"),
        (HEAD + "cart-2,10.0.1.2,amr,,ssh,,,,\n", 2, "port", "'ssh' is no port"),
        (HEAD + "cart-2,10.0.1.2,amr,,99999,,,,\n", 2, "port", "99999 is out of range"),
        (HEAD + "cart-2,10.0.1.2,amrs,,,,,,\n", 2, "group", "no group is called amrs"),
        (HEAD + "cart-2,10.0.1.2,amr,,,,a b,,\n", 2, "jump/0", "'a b' is not a valid"),
        (HEAD + ROW + ROW.replace("10.0.1.1", "10.0.1.2"), 3, "name", "two robots are called cart-1"),
        (HEAD + ROW + "amr-001,10.0.1.2,amr,,,,,,\n", 3, "name", "two robots are called amr-001"),
        (HEAD + "cart-2,10.0.0.11,amr,,,,,,\n", 2, "host", "10.0.0.11 port 22 is taken"),
        (HEAD + "cart-2,10.0.1.2,,,,,,,\n", 2, "", "cart-2 runs no model"),
        (HEAD + 'cart-2,"10.0.1.2\n,amr,,,,,,\n', 3, "", "is not CSV"),
        (HEAD + ROW + 'cart-2,"10.\n0.1",amr,,,,,,\n' + "cart-3,x\n", 5, "", "has 2 cells"),
        ("name,hst\n", 1, "", "has no column host"),
        ("name;host\ncart-1;10.0.1.1\n", 1, "", "has no commas"),
        ("name,host,colour\n", 1, "", "unknown column 'colour'"),
        ("name,host,host\n", 1, "", "two columns are called host"),
        (HEAD, 1, "", "has no robots"),
        ("", 1, "", "has no column name and host"),
        ((HEAD + "cart-1,").encode() + b"\xff\n", 2, "", "is not UTF-8"),
        (HEAD + "cart-2,10.0.1.2,amr,,,,,,a\x00b\n", 2, "environment/ROS_DOMAIN_ID", "is not a valid"),
    ],
)
def test_a_broken_row_is_named_by_its_line(tmp_path: Path, text: str | bytes, line: int, path: str, says: str) -> None:
    found = problems(with_csv(tmp_path, text))
    match = [each for each in found if says in each.message]
    assert match, [str(each) for each in found]
    assert (match[0].file, match[0].line, match[0].path) == (str(tmp_path / "robots.csv"), line, path)
    assert match[0].hint


def test_all_broken_rows_and_the_manifests_own_faults_are_told_at_once(tmp_path: Path) -> None:
    text = HEAD + "A,10.0.1.1,amr,,,,,,\n" + ROW + "b,,amr,,,,,,\n" + "c\n"
    found = problems(with_csv(tmp_path, text, colour="red"))
    places = {(Path(each.file).name, each.line) for each in found}
    assert places >= {("robots.csv", 2), ("robots.csv", 4), ("robots.csv", 5)}
    assert any(each.file.endswith("fleet.yaml") and "unknown key colour" in each.message for each in found)


def test_the_other_place_of_a_name_is_named_with_its_file(tmp_path: Path) -> None:
    (found,) = problems(with_csv(tmp_path, HEAD + "amr-001,10.0.1.2,amr,,,,,,\n"))
    assert str(tmp_path / "fleet.yaml") in found.hint


@pytest.mark.parametrize(
    ("inventory", "says"),
    [
        ({"csv": "../robots.csv"}, "outside of the manifest's folder"),
        ({"csv": "none.csv"}, "does not exist"),
        ({"csv": "models"}, "is a folder"),
        ({"csv": "robots.csv", "command": "x"}, "an inventory is in one place"),
        ({}, "an inventory is in one place"),
        ({"command": "'x"}, "cannot be read"),
        ({"command": "no-such-program-here --all"}, "cannot be run"),
    ],
)
def test_an_inventory_that_cannot_be_read(tmp_path: Path, inventory: dict[str, Any], says: str) -> None:
    found = problems(write_fleet(tmp_path, fleet={"inventory": inventory}))
    assert any(says in each.message for each in found), [str(each) for each in found]
    assert all(each.file.endswith("fleet.yaml") for each in found)


@pytest.mark.parametrize(
    "printed",
    [
        [{"name": "cart-1", "host": "10.0.1.1", "group": "amr", "jump": ["bastion"]}],
        {"robots": [{"name": "cart-1", "host": "10.0.1.1", "group": "amr", "jump": "bastion"}]},
    ],
)
def test_a_program_lists_robots(tmp_path: Path, printed: Any) -> None:
    folder = with_command(tmp_path / "m", f"print({json.dumps(printed)!r})")
    robot = resolve(load_manifest(folder), recipe_for).robots[3]
    assert (robot.name, robot.address.jump) == ("cart-1", ("bastion",))


def test_a_program_may_print_one_robot_a_line(tmp_path: Path) -> None:
    lines = [json.dumps({"name": f"cart-{n}", "host": f"10.0.1.{n}", "group": "amr"}) for n in (1, 2)]
    folder = with_command(tmp_path / "m", f"print({chr(10).join(lines)!r})")
    assert [robot.name for robot in load_manifest(folder).manifest.robots[3:]] == ["cart-1", "cart-2"]


@pytest.mark.parametrize(
    ("printed", "line", "says"),
    [
        ('[{"name": "a", "host": "h", "group": "amr"},\n 3]', 2, "is no robot"),
        ('[\n{"name": "a", "host": "h", "group": "amr"},\n{"name": "b"}]', 3, "host is missing"),
        ('{"name": "a", "host": "h", "hots": 1}', 1, "unknown key hots"),
        ('{"name": 7, "host": "h"}', 1, "text is expected here"),
        ('[{"name": "a",\n}]', 2, "is not JSON"),
        ('[{"name": "a", "host": "h", "group": "amr"}', 1, "the list is open"),
        ('[{"name": "a", "host": "h", "group": "amr"}] and more', 1, "something follows it"),
        ('{"name": "a", "name": "b", "host": "h"}', 1, "given twice"),
        ('{"name": "a", "host": "h", "labels": NaN}', 1, "no number of JSON"),
        ("[" * 100000, 1, "is not JSON"),
        ("Warning: cache is old\n[]", 1, "is not JSON"),
        ("[]", 1, "has no robots"),
        ("", 1, "has no robots"),
    ],
)
def test_a_broken_answer_is_named_by_its_line(tmp_path: Path, printed: str, line: int, says: str) -> None:
    found = problems(with_command(tmp_path / "m", f"print({printed!r}, end='')"))
    match = [each for each in found if says in each.message]
    assert match, [str(each) for each in found]
    assert match[0].file.endswith("list.py`")
    assert match[0].line == line


@pytest.mark.parametrize(
    ("program", "options", "says"),
    [
        ("import sys; sys.exit('no token')", {}, "ended with exit code 1: no token"),
        ("import time; time.sleep(60)", {"timeout": "200ms"}, "gave no answer within 0.2 s"),
        ("import os, sys\nif os.fork():\n    print('[]', end='')", {}, "has no robots"),
        ("print(' ' * (9 << 20))", {}, "printed more than 8 MB"),
    ],
)
def test_a_program_that_fails(tmp_path: Path, program: str, options: dict[str, Any], says: str) -> None:
    found = problems(with_command(tmp_path / "m", program, **options))
    assert any(says in each.message for each in found), [str(each) for each in found]


def test_a_command_is_run_without_a_shell_and_once_for_a_verb(tmp_path: Path) -> None:
    """What is shown, confirmed and applied is one answer, however often the robots are looked at."""
    program = "import json, sys\nopen('asked', 'a').write('x')\n"
    program += "print(json.dumps([{'name': sys.argv[1], 'host': sys.argv[2], 'group': 'amr'}]))"
    folder = with_command(tmp_path / "m", program, command=f"{sys.executable} list.py cart-1 '$HOME;x'")
    (found,) = problems(folder)
    assert "'$HOME;x' is not a valid host" in found.message
    folder = with_command(tmp_path / "m", program, command=f"{sys.executable} list.py cart-1 10.0.1.1")
    (folder / "asked").unlink()
    wiring = Wiring(folder)
    assert [len(wiring.desired.robots) for _ in range(3)] == [4, 4, 4]
    assert wiring.loaded.manifest.robots[3].host == "10.0.1.1"
    assert (folder / "asked").read_text() == "x"


def test_jump_hosts_are_inherited_and_none_goes_straight(tmp_path: Path) -> None:
    robots = [
        {"name": "a", "host": "10.0.1.1", "group": "amr"},
        {"name": "b", "host": "10.0.1.2", "group": "amr", "jump": "none"},
        {"name": "c", "host": "10.0.1.3", "group": "scout"},
    ]
    groups = {"amr": {"jump": "anna@gate, [fe80::1]:2200"}}
    folder = write_fleet(tmp_path, fleet={"robots": robots, "groups": groups})
    jumps = [robot.address.jump for robot in resolve(load_manifest(folder), recipe_for).robots]
    assert jumps == [("anna@gate", "[fe80::1]:2200"), (), None]
