from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from runtime.contract.codec import canonical_json, from_json
from runtime.contract.engine.build import GOLDEN_FILE, IDENTITY_FILE, DeviceFacts, EngineIdentity
from runtime.engines.backend import backend_named
from runtime.engines.build.job import run
from runtime.engines.device.preflight import check_builder, check_engine, this_platform
from runtime.engines.errors import EngineError
from runtime.engines.store import load_engine_dir, write_atomic
from tests.unit.engines.models import make_job


@pytest.fixture
def engine(tmp_path: Path) -> Path:
    make_job(tmp_path / "job")
    assert run(tmp_path / "job", tmp_path / "tiny") == 0
    return tmp_path / "tiny"


def change(engine: Path, **fields: object) -> None:
    identity = from_json(EngineIdentity, (engine / IDENTITY_FILE).read_bytes())
    (engine / IDENTITY_FILE).write_bytes(canonical_json(dataclasses.replace(identity, **fields)))


def refusal(engine: Path) -> EngineError:
    with pytest.raises(EngineError) as caught:
        backend_named("onnxruntime").load(engine)
    assert caught.value.hint
    return caught.value


def test_a_good_engine_is_loaded(engine: Path) -> None:
    identity, files = load_engine_dir(engine)
    assert identity.model == "tiny"
    assert files.engine.name == "engine.onnx"
    backend_named("onnxruntime").load(engine).close()


def test_one_changed_byte_is_found(engine: Path) -> None:
    path = engine / "engine.onnx"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    found = refusal(engine)
    assert found.kind == "corrupt"
    assert "engine.json says" in found.message
    assert "sha256" in found.message


def test_a_truncated_engine_is_found_with_both_sizes(engine: Path) -> None:
    path = engine / "engine.onnx"
    size = path.stat().st_size
    path.write_bytes(path.read_bytes()[:100])
    assert f"has 100 bytes, engine.json says {size}" in refusal(engine).message


@pytest.mark.parametrize("name", [IDENTITY_FILE, GOLDEN_FILE, "engine.onnx"])
def test_a_missing_file_is_named(engine: Path, name: str) -> None:
    (engine / name).unlink()
    found = refusal(engine)
    assert found.kind == "corrupt"
    assert name in found.message


@pytest.mark.parametrize("text", ["", "{}", '{"schema": 99}', "[1]"])
def test_a_sidecar_that_is_none_is_refused(engine: Path, text: str) -> None:
    (engine / IDENTITY_FILE).write_text(text)
    assert "is not an engine sidecar" in refusal(engine).message


def test_a_sidecar_may_not_point_elsewhere(engine: Path) -> None:
    change(engine, engine_file="../tiny/engine.onnx")
    assert "names a file outside of its folder" in refusal(engine).message


def test_another_backend_s_engine_is_refused(engine: Path) -> None:
    change(engine, backend="tensorrt")
    found = refusal(engine)
    assert found.kind == "device-mismatch"
    assert "backend tensorrt claimed, onnxruntime found" in found.message


def test_another_platform_s_engine_is_refused_with_both_sides(engine: Path) -> None:
    change(engine, device=DeviceFacts("linux/riscv64"))
    assert f"platform linux/riscv64 claimed, {this_platform()} found" in refusal(engine).message


def test_tensors_other_than_the_sidecar_s_are_refused(engine: Path) -> None:
    identity, _ = load_engine_dir(engine)
    change(engine, inputs=(dataclasses.replace(identity.inputs[0], shape=(1, 5, 5, 3)),))
    assert "[1, 5, 5, 3] in engine.json" in refusal(engine).message
    change(engine, inputs=identity.inputs, outputs=(dataclasses.replace(identity.outputs[0], name="boxes"),))
    assert "has no output 'boxes'" in refusal(engine).message


def test_every_fact_of_a_device_counts_and_none_claims_nothing() -> None:
    here = DeviceFacts("linux/arm64", module="p3767-0003", l4t="36.4.3", sm_count=8, tensorrt="10.3.0.30")
    check_builder(DeviceFacts("linux/arm64"), here)
    check_builder(here, here)
    with pytest.raises(EngineError) as caught:
        check_builder(dataclasses.replace(here, module="p3767-0000", sm_count=4), here)
    assert "module p3767-0000 claimed, p3767-0003 found; sm_count 4 claimed, 8 found" in caught.value.message
    with pytest.raises(EngineError, match=r"l4t 36\.4\.3 claimed, none found"):
        check_builder(here, DeviceFacts("linux/arm64", module="p3767-0003"))


def test_check_engine_names_the_model(engine: Path) -> None:
    identity, _ = load_engine_dir(engine)
    check_engine(identity, "onnxruntime", DeviceFacts(this_platform()))
    with pytest.raises(EngineError, match="engine of 'tiny' does not fit"):
        check_engine(identity, "onnxruntime", DeviceFacts("linux/other"))


def test_files_are_written_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "file"
    write_atomic(path, b"old")

    def broken(_: int) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr("os.fsync", broken)
    with pytest.raises(OSError, match="no space"):
        write_atomic(path, b"new")
    assert path.read_bytes() == b"old"


def test_an_unknown_backend_is_refused_with_those_that_exist() -> None:
    with pytest.raises(EngineError, match="no engine backend 'abacus'") as caught:
        backend_named("abacus")
    assert caught.value.kind == "unsupported"
    assert "onnxruntime" in caught.value.hint


def test_missing_packages_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "onnxruntime", None)
    with pytest.raises(EngineError, match="needs the package 'onnxruntime'") as caught:
        backend_named("onnxruntime")
    assert "runtime" in caught.value.hint
