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
    with pytest.raises(BuildError, match="not a regular file"):
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


def sparse_entry(claims: int) -> bytes:
    """Return a GNU sparse entry of two blocks that says it is ``claims`` bytes."""
    block = bytearray(tarfile.TarInfo("out/engine.onnx").tobuf(tarfile.GNU_FORMAT))
    block[156:157] = tarfile.GNUTYPE_SPARSE
    block[386:410] = b"%011o\0" % 0 * 2
    block[483:495] = (0o200 << 88 | claims).to_bytes(12, "big")
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block) + b"\0" * 1024


def pax_entry(headers: dict[str, str]) -> bytes:
    info = tarfile.TarInfo("out/engine.onnx")
    info.pax_headers = headers
    return info.tobuf(tarfile.PAX_FORMAT) + b"\0" * 1024


def claiming(size: int) -> bytes:
    """Return an entry that says it is ``size`` bytes, and has none."""
    info = tarfile.TarInfo("out/engine.onnx")
    info.size = size
    return info.tobuf(tarfile.GNU_FORMAT) + b"\0" * 1024


HOSTILE = {
    "a sparse entry of 1 TiB": (sparse_entry(1 << 40), "sparse"),
    "a sparse entry by pax, 0.0": (pax_entry({"GNU.sparse.size": str(1 << 40), "GNU.sparse.numblocks": "0"}), "sparse"),
    "a sparse entry by pax, 0.1": (pax_entry({"GNU.sparse.map": "0,0", "GNU.sparse.size": str(1 << 40)}), "sparse"),
    "an entry that says 1 TiB": (claiming(1 << 40), "should have 1099511627776 bytes"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_an_entry_is_as_large_as_its_bytes(tmp_path: Path, name: str) -> None:
    content, words = HOSTILE[name]
    made = tmp_path / "o.tar"
    made.write_bytes(content)
    with pytest.raises(BuildError, match=words):
        unpack_outputs(made, tmp_path / "to")
    assert sum(path.stat().st_size for path in (tmp_path / "to").iterdir()) == 0


@pytest.mark.parametrize("kind", [tarfile.GNUTYPE_LONGNAME, tarfile.XHDTYPE, tarfile.XGLTYPE])
def test_a_header_is_not_read_into_memory_whatever_its_size(tmp_path: Path, kind: bytes) -> None:
    info = tarfile.TarInfo("x")
    info.type, info.size = kind, 64 << 20
    made = tmp_path / "o.tar"
    made.write_bytes(info.tobuf(tarfile.GNU_FORMAT) + b"1" * (64 << 20) + b"\0" * 1024)
    with pytest.raises(BuildError, match="a header of 67108864 bytes"):
        unpack_outputs(made, tmp_path / "to")


def test_an_answer_has_a_limit(tmp_path: Path) -> None:
    made = archive(tmp_path / "o.tar", entry("out/a", size=600), entry("out/b", size=600))
    with pytest.raises(BuildError, match="holds more than"):
        unpack_outputs(made, tmp_path / "to", limit=1000)
