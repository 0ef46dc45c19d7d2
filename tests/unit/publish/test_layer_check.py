"""An engine's layer is three plain files of the report's sizes and hashes; whatever else it holds is named."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from fleet.errors import NotProven
from fleet.oci.image_spec import LAYER_TAR, Bytes, Descriptor
from fleet.publish.artifact import EngineArtifact, read_report
from fleet.publish.layer_check import LayerChecks, LayerMismatch, check_layer, expected_files, layer_size
from fleet.resolve.desired import EngineSpec
from runtime.contract.engine.build import EngineReport
from tests.fakes.registries.publishing import PREFIX, desired_fleet, push_new_engine
from tests.fakes.registries.registry import FakeRegistry

REPOSITORY = f"{PREFIX}/engines"
FOLDER = "opt/jetfleet/engines/sign_text/fp32"


class Engine:
    """One engine in a registry, as it was pushed."""

    def __init__(self, folder: Path) -> None:
        self.registry = FakeRegistry()
        self.spec: EngineSpec = next(iter(desired_fleet().engines.values()))
        self.artifact: EngineArtifact = push_new_engine(self.registry, folder, self.spec)
        self.report: EngineReport = read_report(self.registry, REPOSITORY, self.artifact)
        self.layer = self.registry.read_blob(REPOSITORY, self.artifact.layer.digest)

    def check(self, layer: bytes) -> None:
        check_layer(io.BytesIO(layer), expected_files(self.spec, self.artifact, self.report), keep="engine.json")

    def entries(self) -> list[tuple[tarfile.TarInfo, bytes]]:
        with tarfile.open(fileobj=io.BytesIO(self.layer)) as archive:
            return [
                (info, file.read() if (file := archive.extractfile(info)) else b"") for info in archive.getmembers()
            ]

    def require(self, layer: bytes, seen: Path | None = None) -> None:
        """Check as publish does, with another layer in the artifact."""
        blob = Bytes.of(layer)
        self.registry.push_blob(REPOSITORY, blob)
        swapped = replace(self.artifact, layer=Descriptor(LAYER_TAR, blob.digest, blob.size))
        LayerChecks(self.registry, REPOSITORY, seen).require(self.spec, swapped, self.report)


@pytest.fixture
def engine(tmp_path: Path) -> Engine:
    return Engine(tmp_path)


def packed(entries: list[tuple[tarfile.TarInfo, bytes]], form: int = tarfile.USTAR_FORMAT) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w", format=form) as archive:
        for info, content in entries:
            archive.addfile(info, io.BytesIO(content))
    return stream.getvalue()


def named(name: str, content: bytes = b"", kind: bytes = tarfile.REGTYPE, link: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.size, info.type, info.linkname, info.mode = len(content), kind, link, 0o644
    return info


def test_what_was_pushed_passes(engine: Engine) -> None:
    engine.check(engine.layer)
    assert layer_size(expected_files(engine.spec, engine.artifact, engine.report)) == len(engine.layer)


def test_a_report_of_an_older_fleet_names_engine_and_identity(engine: Engine) -> None:
    engine.report = replace(engine.report, files={})
    engine.check(engine.layer)
    with pytest.raises(LayerMismatch, match=r"engine\.onnx has sha256"):
        engine.check(engine.layer.replace(b"engine sha256", b"engine sha257", 1))
    LayerChecks(engine.registry, REPOSITORY).require(engine.spec, engine.artifact, engine.report)


Entries = list[tuple[tarfile.TarInfo, bytes]]
EVIL = "opt/jetfleet/lib/runtime/__init__.py"


def add(
    at: int, name: str, content: bytes = b"x", kind: bytes = tarfile.REGTYPE, link: str = ""
) -> Callable[[Entries], Entries]:
    more = (named(name, b"" if link else content, kind, link), b"" if link else content)
    return lambda entries: [*entries[:at], more, *entries[at:]]


def put(at: int, **changes: object) -> Callable[[Entries], Entries]:
    """Change fields of the entry's header."""

    def change(entries: Entries) -> Entries:
        info, content = entries[at]
        for name, value in changes.items():
            setattr(info, name, value)
        return [*entries[:at], (info, content), *entries[at + 1 :]]

    return change


# Four folders, then engine.json, engine.onnx, golden.npz (and one folder more for the precision).
LAST = 8
ATTACKS: dict[str, Callable[[Entries], Entries]] = {
    "another path first": add(0, EVIL),
    "another path last": add(LAST, EVIL),
    "a whiteout": add(LAST, "opt/jetfleet/lib/.wh..wh..opq", b""),
    "an absolute path": add(LAST, "/etc/passwd"),
    "a path that climbs": add(LAST, f"{FOLDER}/../../../lib/runtime/x.py"),
    "a file twice": lambda entries: [*entries, entries[-1]],
    "a symbolic link": add(LAST, f"{FOLDER}/z", kind=tarfile.SYMTYPE, link="/etc/shadow"),
    "a hard link": add(LAST, f"{FOLDER}/z", kind=tarfile.LNKTYPE, link=f"{FOLDER}/engine.json"),
    "a device": add(LAST, f"{FOLDER}/z", b"", kind=tarfile.CHRTYPE),
    "a folder that is a link": put(3, type=tarfile.SYMTYPE, linkname="/opt/jetfleet/lib"),
    "a file that is a link": put(-1, type=tarfile.SYMTYPE, linkname="/etc/shadow", size=0),
    "another mode": put(-1, mode=0o4755),
    "another owner": put(-1, uid=1000),
    "a folder less": lambda entries: entries[1:],
    "a file less": lambda entries: entries[:-1],
    "another order": lambda entries: [*entries[:-2], entries[-1], entries[-2]],
    "another name": put(-1, name=f"{FOLDER}/golden2.npz"),
    "nothing": lambda _: [],
}


@pytest.mark.parametrize("attack", ATTACKS.values(), ids=ATTACKS.keys())
@pytest.mark.parametrize("known", [True, False], ids=["", "older"])
def test_whatever_else_it_holds_is_refused(engine: Engine, attack: Callable[[Entries], Entries], known: bool) -> None:
    entries = engine.entries()
    assert len(entries) == LAST
    if not known:
        engine.report = replace(engine.report, files={})
    layer = packed(attack(entries))
    with pytest.raises(LayerMismatch):
        engine.check(layer)
    with pytest.raises(NotProven, match="is not the engine sign_text fp32 for sim-x86") as caught:
        engine.require(layer)
    assert "run fleet build" in caught.value.hint


@pytest.mark.parametrize("form", [tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_long_names_and_extended_headers_are_not_read(engine: Engine, form: int) -> None:
    entries = engine.entries()
    info = named(f"{FOLDER}/{'x' * 200}", b"x")
    with pytest.raises(LayerMismatch, match="something '"):
        engine.check(packed([(info, b"x"), *entries], form))
    entries[-1][0].pax_headers = {"path": EVIL, "GNU.sparse.major": "1"}
    with pytest.raises(LayerMismatch):
        engine.check(packed(entries, tarfile.PAX_FORMAT))


def test_a_sparse_file_of_a_tebibyte_costs_nothing(engine: Engine) -> None:
    info = named(f"{FOLDER}/engine.json")
    info.type, info.size = tarfile.GNUTYPE_SPARSE, 1 << 40
    block = info.tobuf(tarfile.GNU_FORMAT)
    engine.report = replace(engine.report, files={})
    with pytest.raises(LayerMismatch):
        engine.check(engine.layer[: 5 * 512] + block + engine.layer[6 * 512 :])


@pytest.mark.parametrize("change", [b"", b"\0" * 512, b"\0" * 9216, b"more"], ids=["cut", "padded", "record", "tail"])
def test_the_end_is_where_it_is(engine: Engine, change: bytes) -> None:
    layer = engine.layer + change if change else engine.layer[:-1]
    with pytest.raises(LayerMismatch, match="end"):
        engine.check(layer)


@pytest.mark.parametrize("at", range(40))
def test_no_byte_can_be_another(engine: Engine, at: int) -> None:
    place = at * len(engine.layer) // 40
    changed = bytearray(engine.layer)
    changed[place] ^= 1
    with pytest.raises(LayerMismatch):
        engine.check(bytes(changed))


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"key": "sha256:0"}, "report's key"),
        ({"model": "other"}, "report's model"),
        ({"precision": "int8"}, "report's precision"),
        ({"engine_file": "../../lib/x.py"}, "none of engine.onnx, engine.plan"),
        ({"engine_file": "golden.npz"}, "none of engine.onnx, engine.plan"),
        ({"engine_bytes": 1}, "contradicts itself"),
        ({"engine_sha256": "0" * 64}, "contradicts itself"),
    ],
)
def test_a_report_of_something_else_is_refused(engine: Engine, changes: dict[str, object], says: str) -> None:
    engine.report = replace(engine.report, identity=replace(engine.report.identity, **changes))  # type: ignore[arg-type]
    with pytest.raises(NotProven, match=says):
        engine.require(engine.layer)


def test_identity_and_report_are_of_one_engine(engine: Engine) -> None:
    other = replace(engine.report.identity, backend="tensorrt")
    engine.report = replace(engine.report, identity=other)
    with pytest.raises(NotProven, match="of different engines"):
        engine.require(engine.layer)


def test_what_annotations_say_is_what_the_manifest_says(engine: Engine) -> None:
    """They become an image's history and labels."""
    engine.artifact = replace(engine.artifact, model="$(id)")
    with pytest.raises(NotProven, match="artifact's model is"):
        engine.require(engine.layer)


def test_a_layer_of_another_size_is_not_fetched(engine: Engine) -> None:
    engine.registry.calls.clear()
    with pytest.raises(NotProven, match="its layer has"):
        engine.require(engine.layer + b"\0" * 512)
    assert "read_blob" not in [verb for verb, _ in engine.registry.calls]


def test_what_passed_is_not_fetched_again(engine: Engine, tmp_path: Path) -> None:
    engine.require(engine.layer, tmp_path / "seen")
    engine.registry.calls.clear()
    engine.require(engine.layer, tmp_path / "seen")
    assert "read_blob" not in [verb for verb, _ in engine.registry.calls]
    with pytest.raises(NotProven):
        engine.require(packed(ATTACKS["a file twice"](engine.entries())), tmp_path / "seen")


def test_a_cache_that_cannot_be_written_only_costs_time(engine: Engine, tmp_path: Path) -> None:
    (tmp_path / "seen").write_text("a file")
    engine.require(engine.layer, tmp_path / "seen")
