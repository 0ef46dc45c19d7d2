"""A file changed in place: comments, order and layout stay; what is not understood is refused."""

from __future__ import annotations

import random
from typing import Any

import pytest

from fleet.errors import UsageError
from fleet.manifest.yaml.edit import lines_for, set_keys
from fleet.manifest.yaml.yaml_text import parse_document

INT8 = ("precisions", "int8")
FILE = """\
# A detector.
name: d       # its name
precisions:
  int8:
    calibration: calibration/signs        # frames
    method: percentile
    # measured on the bench:
    exclude_nodes: [a.0, a.1,   # the stem
                    a.2]        # costs most
  # fp16 needs nothing
golden: {data: golden.npz}
"""


def test_a_list_is_replaced_and_every_comment_stays() -> None:
    found = set_keys(FILE.encode(), INT8, {"exclude_nodes": ["/b/Conv", "c"]}).decode()
    assert found == FILE.replace(
        "    exclude_nodes: [a.0, a.1,   # the stem\n                    a.2] ",
        "    # the stem\n    exclude_nodes: [/b/Conv, c] ",
    )


def test_a_new_key_goes_below_the_last_one_and_a_new_mapping_into_its_place() -> None:
    found = set_keys(FILE.encode(), INT8, {"optimization_level": 4}).decode()
    assert found == FILE.replace("# costs most\n", "# costs most\n    optimization_level: 4\n")
    found = set_keys(FILE.encode(), ("precisions", "fp16"), {"keep_fp32_nodes": ["x"]}).decode()
    assert found == FILE.replace("# costs most\n", "# costs most\n  fp16:\n    keep_fp32_nodes: [x]\n")
    bare = set_keys(b"name: d", ("precisions", "fp16"), {"keep_fp32_nodes": ["x"]}).decode()
    assert bare == "name: d\nprecisions:\n  fp16:\n    keep_fp32_nodes: [x]\n"


def test_a_key_is_taken_away_with_its_lines_alone() -> None:
    found = set_keys(FILE.encode(), INT8, {"exclude_nodes": None, "method": None, "exclude_ops": None}).decode()
    assert "a.0" not in found
    assert "method" not in found
    assert "    # measured on the bench:\n  # fp16 needs nothing\n" in found


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("precisions: {int8: {calibration: c}}", "precisions: {int8: {calibration: c, exclude_nodes: [x, z]}}"),
        ("precisions: {int8: {}}", "precisions: {int8: {exclude_nodes: [x, z]}}"),
        ("precisions: {}", "precisions: {int8: {exclude_nodes: [x, z]}}"),
        (
            "precisions: {int8: {exclude_nodes: [], method: m}}",
            "precisions: {int8: {exclude_nodes: [x, z], method: m}}",
        ),
        (
            "precisions:\n  int8: {method: m, }  # note",
            "precisions:\n  int8: {method: m, exclude_nodes: [x, z]}  # note",
        ),
        ("precisions:\n  int8:\n  fp16: {}", "precisions:\n  int8:\n    exclude_nodes: [x, z]\n  fp16: {}"),
        (
            "precisions:\r\n  int8:\r\n    exclude_nodes:\r\n      - a   # why\r\n      - b\r\n# end\r\n",
            "precisions:\r\n  int8:\r\n    # why\r\n    exclude_nodes: [x, z]\r\n# end\r\n",
        ),
    ],
)
def test_flow_and_block_styles_are_kept(before: str, after: str) -> None:
    found = set_keys(before.encode(), INT8, {"exclude_nodes": ["x", "z"]}).decode()
    assert found.rstrip("\r\n") == after.rstrip("\r\n")


def test_the_only_key_leaves_an_empty_mapping() -> None:
    found = set_keys(b"p:\n  fp16:\n    ops: [x]  # why\nn: 1\n", ("p", "fp16"), {"ops": None})
    assert found.decode() == "p:\n  fp16:\n    {}\nn: 1\n"


def test_taking_away_in_flow_style() -> None:
    for before, after in (("{a: 1, b: 2}", "{b: 2}"), ("{b: 2, a: 1}", "{b: 2}"), ("{a: 1}", "{}")):
        assert set_keys(f"m: {before}".encode(), ("m",), {"a": None}).decode() == f"m: {after}"


@pytest.mark.parametrize(
    "name",
    ["no", "1e3", "0x1f", "a: b", "a, b", "[x]", "#x", "Ünïcode", "", " x", "12:30", "a\nb", '"', "-", ".5", "null"],
)
def test_names_that_yaml_would_read_as_something_else_are_quoted(name: str) -> None:
    found = set_keys(FILE.encode(), INT8, {"exclude_nodes": [name, "plain"]})
    assert parse_document(found).value["precisions"]["int8"]["exclude_nodes"] == (name, "plain")


def test_long_lists_are_wrapped_below_their_first_value() -> None:
    names = [f"/model.{index}/cv1/conv/Conv" for index in range(40)]
    found = set_keys(FILE.encode(), INT8, {"exclude_nodes": names}).decode()
    assert max(len(line.split("#")[0].rstrip()) for line in found.splitlines()) <= 120
    assert parse_document(found.encode()).value["precisions"]["int8"]["exclude_nodes"] == tuple(names)
    said = lines_for(INT8, {"exclude_nodes": names, "method": "entropy", "exclude_ops": None})
    assert said.splitlines()[0] == "precisions:"
    assert parse_document(said.encode()).value == {
        "precisions": {"int8": {"exclude_nodes": tuple(names), "method": "entropy"}}
    }


@pytest.mark.parametrize("text", ["- a\n", "a: &x 1\nb: *x\n", "a: 1\na: 2\n", "a: [\n", "precisions: 3\n", ""])
def test_what_is_not_understood_is_refused(text: str) -> None:
    with pytest.raises(UsageError):
        set_keys(text.encode(), INT8, {"exclude_nodes": ["x"]})


def test_any_order_of_changes_to_any_layout_gives_what_was_meant() -> None:
    rng = random.Random(4)
    for _ in range(150):
        text, document = _random_file(rng)
        values: dict[str, Any] = {}
        for key in rng.sample(["method", "exclude_nodes", "exclude_ops", "level"], rng.randint(1, 4)):
            lists = key.startswith("exclude")
            values[key] = (
                tuple(f"n{rng.randint(0, 9)}" for _ in range(rng.randint(0, 30))) if lists else rng.randint(0, 5)
            )
        found = set_keys(text.encode(), INT8, values)
        wanted = {
            **document,
            "precisions": {**document["precisions"], "int8": {**document["precisions"]["int8"], **values}},
        }
        assert parse_document(found).value == wanted
        comments = [line.split("#")[1] for line in text.splitlines() if "#" in line]
        assert all(f"#{comment}" in found.decode() for comment in comments), (text, found.decode())


def _random_file(rng: random.Random) -> tuple[str, dict[str, Any]]:
    lines, int8 = ["precisions:", "  int8:  # c0"], {}
    for number, key in enumerate(
        rng.sample(["method", "exclude_nodes", "exclude_ops", "level", "other"], rng.randint(1, 5))
    ):
        names = [f"m{index}" for index in range(rng.randint(1, 3))]
        int8[key] = tuple(names)
        if rng.random() < 0.5:
            lines.append(f"    {key}: [{', '.join(names)}]  # f{number}")
        else:
            lines += [f"    {key}:  # k{number}", *(f"      - {name}  # v{number}{name}" for name in names)]
        if rng.random() < 0.3:
            lines += [f"    # alone{number}", ""]
    return "\n".join([*lines, "name: x  # last"]) + "\n", {"precisions": {"int8": int8}, "name": "x"}
