"""Class names that a model's file takes from a file, or from what an exporter wrote into the ONNX file."""

from __future__ import annotations

from pathlib import Path

import pytest
from onnx import ModelProto

from fleet.errors import ManifestError
from fleet.manifest.files.class_names import NoNames, names_in_file, names_in_metadata
from fleet.manifest.load import load_manifest
from tests.fakes.fleet_folder import tiny_onnx, write_fleet
from tests.unit.manifest.texts import MODEL, SHA


@pytest.mark.parametrize(
    ("content", "names"),
    [
        (b"person\ndog\n", ("person", "dog")),
        (b"\xef\xbb\xbfperson\r\ntraffic light\r\n\r\n", ("person", "traffic light")),
        ("Käse".encode(), ("Käse",)),
    ],
)
def test_a_line_is_a_class(tmp_path: Path, content: bytes, names: tuple[str, ...]) -> None:
    (tmp_path / "labels.txt").write_bytes(content)
    assert names_in_file(tmp_path / "labels.txt") == names


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"person\n\ndog\n", "has no name in line 2"),
        (b"", "has no name in line 1"),
        (b"\xff\xfe", "is not UTF-8 text"),
        (b"person\n\x1b[31mdog", "a name of class 1 that is longer than 200 characters, or cannot be printed"),
        (b"x" * 300, "a name of class 0"),
        (b"x\n" * 100_001, "has 100001 class names"),
        (b"x" * 4_000_001, "has more than 4000000 bytes"),
    ],
)
def test_what_is_no_list_of_names_is_refused(tmp_path: Path, content: bytes, why: str) -> None:
    (tmp_path / "labels.txt").write_bytes(content)
    with pytest.raises(NoNames, match=why):
        names_in_file(tmp_path / "labels.txt")


@pytest.mark.parametrize(
    ("entries", "names"),
    [
        ({"names": "{0: 'person', 1: 'dog'}"}, ("person", "dog")),
        ({"names": "['person', 'dog']"}, ("person", "dog")),
        ({"id2label": '{"1": "dog", "0": "person"}'}, ("person", "dog")),
        ({"classes": "person, dog"}, ("person", "dog")),
        ({"labels": "person\ndog", "stride": "32"}, ("person", "dog")),
    ],
)
def test_what_exporters_write(entries: dict[str, str], names: tuple[str, ...]) -> None:
    assert names_in_metadata(entries) == names


@pytest.mark.parametrize(
    ("entries", "why"),
    [
        ({}, "has no class names in its metadata"),
        ({"names": "{0: 'person', 2: 'dog'}"}, "has no name for class 1 in its metadata"),
        ({"names": "{}"}, "has something else than class names"),
        ({"names": "[['person']]"}, "has something else than class names"),
        ({"names": "[" * 5000}, "name of class 0"),
        ({"names": "person,,dog"}, "has something else than class names"),
    ],
)
def test_metadata_without_names_are_refused(entries: dict[str, str], why: str) -> None:
    with pytest.raises(NoNames, match=why):
        names_in_metadata(entries)


def classifier(labels: str, *, sha256: str = SHA) -> str:
    assert "decoder: {name: tensor}" in MODEL
    decoder = f"decoder: {{name: classification, options: {{labels: {labels}}}}}"
    return MODEL.replace("decoder: {name: tensor}", decoder).replace(SHA, sha256)


def test_the_release_holds_the_names(tmp_path: Path) -> None:
    write_fleet(tmp_path, model_text=classifier("names/coco.txt"))
    names = tmp_path / "models" / "names"
    names.mkdir()
    (names / "coco.txt").write_text("person\ndog\n")
    loaded = load_manifest(tmp_path)
    assert loaded.models["detector"].outputs[0].decoder.options["labels"] == ("person", "dog")


def test_the_names_of_the_exporter(tmp_path: Path) -> None:
    import hashlib

    model = ModelProto.FromString(tiny_onnx())
    model.metadata_props.add(key="names", value="{0: 'person', 1: 'dog'}")
    data = model.SerializeToString()
    text = classifier("metadata", sha256=hashlib.sha256(data).hexdigest())
    write_fleet(tmp_path, model_text=text, onnx=data)
    loaded = load_manifest(tmp_path)
    assert loaded.models["detector"].outputs[0].decoder.options["labels"] == ("person", "dog")


@pytest.mark.parametrize(
    ("labels", "says"),
    [
        ("labels.txt", "labels.txt does not exist"),
        ("../../labels.txt", "is outside of the manifest's folder"),
        ("metadata", "has no class names in its metadata"),
    ],
)
def test_names_that_are_not_there_are_one_problem_with_its_line(tmp_path: Path, labels: str, says: str) -> None:
    text = classifier(labels)
    write_fleet(tmp_path, model_text=text)
    with pytest.raises(ManifestError) as caught:
        load_manifest(tmp_path)
    (problem,) = caught.value.problems
    assert says in problem.message
    assert problem.path == "outputs/0/decoder/options/labels"
    assert text.splitlines()[problem.line - 1].strip().startswith("decoder:")
    assert problem.hint
