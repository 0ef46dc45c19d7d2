from __future__ import annotations

import io
import tarfile
from pathlib import Path

import pytest

from fleet.build.job_archive import unpack_outputs, write_inputs
from fleet.errors import BuildError
from runtime.contract.codec import from_json
from runtime.contract.engine.build import BuildJob
from tests.unit.build.specs import engine_specs


@pytest.mark.parametrize(("precision", "samples"), [("fp32", 0), ("int8", 8)])
def test_inputs_hold_the_job_and_what_it_needs(tmp_path: Path, precision: str, samples: int) -> None:
    (spec,) = engine_specs(tmp_path / "fleet", precision)
    assert spec.source_path is not None
    buffer = io.BytesIO()
    write_inputs(spec, spec.source_path, buffer)
    buffer.seek(0)
    with tarfile.open(fileobj=buffer) as tar:
        names = tar.getnames()
        job = tar.extractfile("job.json")
        assert job is not None
        assert from_json(BuildJob, job.read()) == spec.job
    assert names[:3] == ["job.json", "model.onnx", "golden.npz"]
    assert names[3:] == [f"calibration/{index:03}.npz" for index in range(samples)]


def test_a_golden_file_that_vanished_is_named(tmp_path: Path) -> None:
    (spec,) = engine_specs(tmp_path / "fleet", "fp32")
    assert spec.source_path is not None
    spec.golden.unlink()
    with pytest.raises(BuildError, match=r"detector\.npz"):
        write_inputs(spec, spec.source_path, io.BytesIO())


def archive(path: Path, *entries: tarfile.TarInfo) -> Path:
    with tarfile.open(path, "w") as tar:
        for entry in entries:
            tar.addfile(entry, io.BytesIO(b"x" * entry.size))
    return path


def entry(name: str, kind: bytes = tarfile.REGTYPE, *, size: int = 1, link: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, link
    info.size = size if kind == tarfile.REGTYPE else 0
    return info


def test_outputs_are_unpacked_flat(tmp_path: Path) -> None:
    made = archive(
        tmp_path / "o.tar", entry("out", tarfile.DIRTYPE), entry("out/engine.json"), entry("out/report.json")
    )
    unpack_outputs(made, tmp_path / "to")
    assert sorted(path.name for path in (tmp_path / "to").iterdir()) == ["engine.json", "report.json"]


@pytest.mark.parametrize(
    "bad",
    [
        entry("out/../../escaped"),
        entry("../escaped"),
        entry("/escaped"),
        entry("/etc/escaped"),
        entry("out/sub/escaped"),
        entry("out/sub", tarfile.DIRTYPE),
        entry("out/link", tarfile.SYMTYPE, link="/etc/passwd"),
        entry("out/link", tarfile.LNKTYPE, link="/etc/passwd"),
        entry("out/pipe", tarfile.FIFOTYPE),
        entry("out/.."),
        entry("escaped"),
    ],
    ids=lambda bad: bad.name,
)
def test_nothing_leaves_the_folder(tmp_path: Path, bad: tarfile.TarInfo) -> None:
    inside = tmp_path / "deep" / "to"
    with pytest.raises(BuildError, match="not a plain file"):
        unpack_outputs(archive(tmp_path / "o.tar", bad), inside)
    assert [path for path in tmp_path.rglob("*") if path.name in ("escaped", "link", "pipe")] == []


def test_too_many_files_are_refused(tmp_path: Path) -> None:
    made = archive(tmp_path / "o.tar", *(entry(f"out/{index}") for index in range(100)))
    with pytest.raises(BuildError, match="more than 64 files"):
        unpack_outputs(made, tmp_path / "to")


@pytest.mark.parametrize("content", [b"", b"not a tar" * 200])
def test_no_archive_is_said(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "o.tar").write_bytes(content)
    with pytest.raises(BuildError, match="not a readable archive"):
        unpack_outputs(tmp_path / "o.tar", tmp_path / "to")


def test_a_cut_archive_is_said(tmp_path: Path) -> None:
    made = archive(tmp_path / "o.tar", entry("out/engine.onnx", size=100_000))
    made.write_bytes(made.read_bytes()[:50_000])
    with pytest.raises(BuildError, match="not a readable archive"):
        unpack_outputs(made, tmp_path / "to")
