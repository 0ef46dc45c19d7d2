from __future__ import annotations

import hashlib
import io
import os
import tarfile
from pathlib import Path

import pytest

from fleet.errors import BuildError
from fleet.publish.layers import Entry, Layer, config_layer, engine_layer
from runtime.contract.codec import from_json
from runtime.contract.node.runtime_config import CONFIG_PATH, RuntimeConfig
from tests.fakes.registries.publishing import engine_folder, key_of


def read(layer: Layer) -> bytes:
    with layer.open() as stream:
        return stream.read()


@pytest.mark.parametrize("size", [0, 1, 511, 512, 513, (1 << 20) + 1])
def test_size_and_digest_are_those_of_the_bytes(tmp_path: Path, size: int) -> None:
    (tmp_path / "file").write_bytes(os.urandom(size))
    layer = Layer([Entry("opt/x/file", tmp_path / "file")])

    content = read(layer)

    assert len(content) == layer.size
    assert "sha256:" + hashlib.sha256(content).hexdigest() == layer.digest
    assert read(layer) == content, "it can be opened again for a retry"


def test_a_layer_says_nothing_of_when_where_and_by_whom(tmp_path: Path) -> None:
    first, second = tmp_path / "a", tmp_path / "b"
    for folder, mode, time in ((first, 0o600, 1), (second, 0o755, 10**9)):
        engine_folder(folder, key_of("k"))
        for path in folder.iterdir():
            path.chmod(mode)
            os.utime(path, (time, time))

    assert read(engine_layer(first, "sign_text")) == read(engine_layer(second, "sign_text"))

    with tarfile.open(fileobj=io.BytesIO(read(engine_layer(first, "sign_text")))) as archive:
        members = archive.getmembers()
    assert [member.name for member in members] == [
        "opt",
        "opt/jetfleet",
        "opt/jetfleet/engines",
        "opt/jetfleet/engines/sign_text",
        "opt/jetfleet/engines/sign_text/fp32",
        "opt/jetfleet/engines/sign_text/fp32/engine.json",
        "opt/jetfleet/engines/sign_text/fp32/engine.onnx",
        "opt/jetfleet/engines/sign_text/fp32/golden.npz",
    ]
    assert {(m.uid, m.gid, m.uname, m.gname, m.mtime) for m in members} == {(0, 0, "", "", 0)}
    assert {(m.isdir(), m.mode) for m in members} == {(True, 0o755), (False, 0o644)}


def test_the_format_never_changes() -> None:
    """This digest is in published releases: a change of layout would give every robot a new image."""
    layer = Layer([Entry("opt/jetfleet/b", b"two"), Entry("opt/jetfleet/a", b"one")])
    assert layer.digest == "sha256:d3c183a40c8ad67e959ab3d190bb35c41e39fabb2032a394ee2d5297c93b9a51"


def test_the_order_of_entries_does_not_matter() -> None:
    entries = [Entry("b", b"2"), Entry("a/x", b"1"), Entry("c", b"3")]
    assert Layer(entries).digest == Layer(entries[::-1]).digest


def test_a_file_that_grows_while_it_is_read_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"x" * 100)
    layer = Layer([Entry("file", path)])
    assert layer.size
    path.write_bytes(b"x" * 200)
    with pytest.raises(BuildError, match="changed while it was published"):
        read(layer)


def test_a_file_that_shrinks_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"x" * 100)
    layer = Layer([Entry("file", path)])
    assert layer.size
    path.write_bytes(b"x" * 50)
    with pytest.raises(BuildError, match="changed while it was published"):
        read(layer)


@pytest.mark.parametrize("missing", ["engine.json", "engine.onnx", "golden.npz"])
def test_an_incomplete_build_is_named(tmp_path: Path, missing: str) -> None:
    engine_folder(tmp_path, key_of("k"))
    (tmp_path / missing).unlink()
    with pytest.raises(BuildError, match=missing):
        engine_layer(tmp_path, "sign_text")


def test_an_engine_of_another_model_is_refused(tmp_path: Path) -> None:
    engine_folder(tmp_path, key_of("k"), model="doors")
    with pytest.raises(BuildError, match="holds an engine of model 'doors', not 'sign_text'"):
        engine_layer(tmp_path, "sign_text")


def test_an_engine_of_another_size_than_its_identity_is_refused(tmp_path: Path) -> None:
    engine_folder(tmp_path, key_of("k"))
    (tmp_path / "engine.onnx").write_bytes(b"short")
    with pytest.raises(BuildError, match=r"5 bytes, but engine\.json says"):
        engine_layer(tmp_path, "sign_text")


def test_an_identity_cannot_name_a_file_outside(tmp_path: Path) -> None:
    engine_folder(tmp_path, key_of("k"))
    identity = tmp_path / "engine.json"
    identity.write_text(identity.read_text().replace("engine.onnx", "../../etc/shadow"))
    with pytest.raises(BuildError, match="not a file name"):
        engine_layer(tmp_path, "sign_text")


def test_what_else_lies_in_the_folder_stays_there(tmp_path: Path) -> None:
    engine_folder(tmp_path, key_of("k"))
    before = engine_layer(tmp_path, "sign_text").digest
    (tmp_path / "report.json").write_text("{}")
    assert engine_layer(tmp_path, "sign_text").digest == before


def test_the_configuration_is_where_the_runtime_looks() -> None:
    config = RuntimeConfig(models=(), max_restarts=7)
    with tarfile.open(fileobj=io.BytesIO(read(config_layer(config)))) as archive:
        file = archive.extractfile(CONFIG_PATH.lstrip("/"))
        assert file is not None
        assert from_json(RuntimeConfig, file.read()) == config
