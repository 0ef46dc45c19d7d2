"""An engine's picture: on layers recorded from TensorRT 8.6.0 on an H200, on made-up ones, and from a real engine."""

from __future__ import annotations

import json
import re
from pathlib import Path
from xml.etree import ElementTree

import pytest

from fleet.cli import main
from fleet.cli.ui.picture.lints import findings, is_conversion
from fleet.cli.ui.picture.svg import MOST_LAYERS, Drawing, picture
from runtime.contract.codec import from_dict
from runtime.contract.engine.engine_facts import LayerFacts
from tests.fakes.fleet_folder import write_fleet

RECORDED = Path(__file__).parent / "recorded"


def recorded(precision: str) -> tuple[LayerFacts, ...]:
    rows = json.loads((RECORDED / f"detector.{precision}.h200.layers.json").read_text())
    return tuple(from_dict(LayerFacts, row) for row in rows)


def drawn(*drawings: Drawing) -> tuple[ElementTree.Element, str]:
    text = picture(drawings)
    return ElementTree.fromstring(text), text


def words(root: ElementTree.Element) -> list[str]:
    return ["".join(element.itertext()) for element in root.iter("{http://www.w3.org/2000/svg}text")]


def test_every_layer_has_a_bar_its_precision_in_words_and_its_name() -> None:
    layers = recorded("int8")
    root, text = drawn(Drawing("detector int8", "tensorrt 8.6.0", layers))
    bars = [each for each in root.iter("{http://www.w3.org/2000/svg}rect") if each.get("height") == "12"]
    assert len(bars) == len(layers)
    said = words(root)
    assert "convolution int8" in said
    assert "reformat conversion" in said
    assert any(each.startswith("int8: ") and " ms, " in each for each in said)
    assert "prefers-color-scheme: dark" in text


def test_bars_are_as_long_as_their_layers_take() -> None:
    layers = (LayerFacts("a", "Conv", "fp32", 2.0), LayerFacts("b", "Conv", "int8", 1.0))
    root, _ = drawn(Drawing("one", "", layers))
    widths = [float(each.get("width", "0")) for each in root.iter("{http://www.w3.org/2000/svg}rect")][-2:]
    assert widths[0] == pytest.approx(2 * widths[1])


def test_two_engines_share_one_scale() -> None:
    fast = (LayerFacts("a", "Conv", "int8", 1.0),)
    slow = (LayerFacts("a", "Conv", "fp32", 4.0),)
    root, _ = drawn(Drawing("fast", "", fast), Drawing("slow", "", slow))
    bars = [each for each in root.iter("{http://www.w3.org/2000/svg}rect") if each.get("height") == "12"]
    assert float(bars[1].get("width", "0")) == pytest.approx(4 * float(bars[0].get("width", "0")))


def test_names_are_data_whatever_they_say() -> None:
    evil = '</text><script>alert("1")</script><!-- & ]]> \x00\x1e\ud800'
    root, text = drawn(Drawing(evil, evil, (LayerFacts(evil, evil, evil, 1.0, formats=evil),)))
    assert not [each for each in root.iter() if "script" in each.tag]
    assert "<script" not in text
    text.encode("utf-8")


def test_a_network_of_any_size_is_a_bounded_picture() -> None:
    layers = tuple(LayerFacts("n" * 5000, "Conv", "fp32", 0.001 * index) for index in range(5000))
    root, text = drawn(Drawing("t" * 10_000, "s" * 10_000, layers))
    assert len(text) < 1_000_000
    assert f"{5000 - MOST_LAYERS} more layers" in " ".join(words(root))


def test_without_times_it_says_so() -> None:
    root, _ = drawn(Drawing("old", "report", (LayerFacts("a", "Conv", "fp32"),)))
    assert any("times unknown" in each for each in words(root))


def test_what_is_found_in_the_recorded_engine() -> None:
    found = findings(recorded("int8"))
    kinds = {kind: [item for item in found if item.kind == kind] for kind in ("heavy", "island", "pair")}
    assert kinds["heavy"][0].text.endswith("{ForeignNode[images/preprocess/Cast_node]}")
    assert any("/model.6/m.0/Add" in item.text for item in kinds["island"])
    assert any("images_QuantizeLinear" in item.text for item in kinds["pair"])


def chain(*rows: tuple[str, str | None, float]) -> list[LayerFacts]:
    return [
        LayerFacts(f"l{index}", kind, precision, time, (f"t{index}",), (f"t{index + 1}",))
        for index, (kind, precision, time) in enumerate(rows)
    ]


def test_an_island_is_fp32_between_lower_precisions_past_conversions() -> None:
    convert = ("Cast", None, 1.0)
    island = chain(("Conv", "int8", 1), convert, ("Conv", "fp32", 1), convert, ("Conv", "fp16", 1))
    assert [item.layer for item in findings(island) if item.kind == "island"] == [2]
    for ends in (
        chain(("Conv", "fp32", 1), ("Conv", "int8", 1)),  # where the graph begins it is no island
        chain(("Conv", "int8", 1), ("Conv", "fp32", 1), ("Conv", "fp32", 1), ("Conv", "int8", 1)),
    ):
        assert not [item for item in findings(ends) if item.kind == "island"]
    without_tensors = [LayerFacts(each.name, each.kind, each.precision, each.ms) for each in island]
    assert [item.layer for item in findings(without_tensors) if item.kind == "island"] == [2]


def test_pairs_are_of_one_tensor_and_cost_something() -> None:
    pair = chain(("Conv", "int8", 1), ("reformat reformat", None, 1), ("Cast", None, 1), ("Conv", "fp32", 1))
    assert [item.layer for item in findings(pair) if item.kind == "pair"] == [1]
    apart = chain(("reformat", None, 1), ("Conv", "int8", 1), ("reformat", None, 1))
    assert not [item for item in findings(apart) if item.kind == "pair"]
    free = chain(("reformat", None, 0), ("reformat", None, 0))
    assert not [item for item in findings(free) if item.kind == "pair"]


@pytest.mark.parametrize(
    ("kind", "yes"), [("DequantizeLinear", True), ("ReorderInput", True), ("noop", False), ("Concat", False)]
)
def test_what_converts(kind: str, yes: bool) -> None:
    assert is_conversion(LayerFacts("x", kind)) is yes


def test_inspect_and_compare_write_the_picture(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = write_fleet(tmp_path / "manifests")
    for precision in ("fp32", "int8"):
        out = ["--precision", precision, "--out", str(tmp_path / precision), "--seconds", "0.02", "--no-gates"]
        assert main.run(["engine", "build", "detector", "-m", str(folder), *out]) == 0
    target = tmp_path / "one.svg"
    assert main.run(["engine", "inspect", str(tmp_path / "int8"), "--picture", str(target)]) == 0
    assert re.search(r"int8: \d+ [\d.]+ ms", target.read_text())
    both = ["engine", "compare", str(tmp_path / "fp32"), str(tmp_path / "int8"), "--no-run", "--picture", str(target)]
    assert main.run(both) == 0
    assert "Layers of detector fp32 and detector int8" in target.read_text()
    capsys.readouterr()
    nowhere = tmp_path / "no/where.svg"
    assert (
        main.run(["engine", "inspect", str(tmp_path / "int8"), "--picture", str(nowhere), "--json"], as_json=True) == 2
    )
    assert "cannot be written" in json.loads(capsys.readouterr().out)["error"]["message"]
