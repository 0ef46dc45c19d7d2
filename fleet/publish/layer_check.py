"""An engine's layer is what its report says, byte for byte: three plain files in the engine's folder, nothing else.

The layer becomes part of the robot's image, so whatever else it held would be laid over the runtime's own files. Layers
have one form (`fleet.publish.layers`), so what is allowed is written down and compared: no archive reader is asked, and
there are no links, sparse files, long names or second entries to be judged.
"""

from __future__ import annotations

import hashlib
import tarfile
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import BinaryIO

from fleet.errors import NotProven
from fleet.oci.image_spec import place
from fleet.oci.skim import said
from fleet.ports import Registry
from fleet.publish.archive import require_space
from fleet.publish.artifact import EngineArtifact
from fleet.publish.layers import BLOCK, END, engine_folder, header, layer_frame, padding
from fleet.publish.streams import PIECE
from fleet.resolve.desired import EngineSpec
from runtime.contract.codec import digest_of, from_json
from runtime.contract.engine.build import GOLDEN_FILE, IDENTITY_FILE, EngineIdentity, EngineReport, FileFacts

ENGINE_FILES = ("engine.onnx", "engine.plan")
_MOST_IDENTITY = 1 << 20

_KINDS = {
    tarfile.REGTYPE: "a file",
    tarfile.AREGTYPE: "a file",
    tarfile.DIRTYPE: "a folder",
    tarfile.LNKTYPE: "a link",
    tarfile.SYMTYPE: "a link",
}

Files = Mapping[str, FileFacts | None]
"""Path inside the image → what is to be there; None: any content, as an old report does not say."""


class LayerMismatch(ValueError):
    """The layer holds something else than its report says. The message names it."""


class LayerChecks:
    """Checks engines' layers; what passed is not downloaded again, as a layer is named by its content."""

    def __init__(self, registry: Registry, repository: str, seen: Path | None = None) -> None:
        """``seen``: a folder of the operator's cache."""
        self._registry = registry
        self._repository = repository
        self._seen = seen

    def require(self, spec: EngineSpec, artifact: EngineArtifact, report: EngineReport) -> None:
        """Raise NotProven when the artifact's layer is not the engine that manifest and report name."""
        where = place(self._registry, self._repository, artifact.digest)
        try:
            mark = self._mark(spec, artifact, report)
            if mark is None or not mark.exists():
                self._check(spec, artifact, report)
                _keep(mark)
        except LayerMismatch as error:
            raise NotProven(
                f"{where} is not the engine {spec.model} {spec.precision} for {spec.profile.name}: {error}",
                hint="nothing was published: check who can write to the registry; delete the tag "
                f"{spec.tag} and run fleet build",
            ) from error

    def _check(self, spec: EngineSpec, artifact: EngineArtifact, report: EngineReport) -> None:
        files = expected_files(spec, artifact, report)
        if None not in files.values() and artifact.layer.size != layer_size(files):
            raise LayerMismatch(
                f"its layer has {artifact.layer.size} bytes, by its report it should have {layer_size(files)}"
            )
        with tempfile.TemporaryDirectory(prefix="jetfleet-layer-") as folder:
            require_space(Path(folder), artifact.layer.size)
            path = Path(folder) / "layer.tar"
            self._registry.fetch_blob(self._repository, artifact.layer.digest, path, size=artifact.layer.size)
            if path.stat().st_size != artifact.layer.size:
                raise LayerMismatch(f"its layer has {path.stat().st_size} bytes, not {artifact.layer.size}")
            with path.open("rb") as stream:
                kept = check_layer(stream, files, keep=IDENTITY_FILE)
        _check_identity(kept, report)

    def _mark(self, spec: EngineSpec, artifact: EngineArtifact, report: EngineReport) -> Path | None:
        asked = [spec.key, spec.model, spec.precision, artifact.model, artifact.precision, artifact.layer.to_json()]
        return (
            None if self._seen is None else self._seen / digest_of([*asked, digest_of(report)]).removeprefix("sha256:")
        )


def _keep(mark: Path | None) -> None:
    if mark is None:
        return
    try:
        mark.parent.mkdir(parents=True, exist_ok=True)
        mark.touch()
    except OSError:
        return  # checked again next time


def expected_files(spec: EngineSpec, artifact: EngineArtifact, report: EngineReport) -> dict[str, FileFacts | None]:
    """Return what the layer of ``spec`` holds, by path, in the layer's order. Raises LayerMismatch."""
    identity = report.identity
    for what, said_, wanted in (
        ("report's key", identity.key, spec.key),
        ("report's model", identity.model, spec.model),
        ("report's precision", identity.precision, spec.precision),
        ("artifact's model", artifact.model, spec.model),
        ("artifact's precision", artifact.precision, spec.precision),
    ):
        if said_ != wanted:
            raise LayerMismatch(f"the {what} is {said_[:80]!r}, expected is {wanted!r}")
    if identity.engine_file not in ENGINE_FILES:
        raise LayerMismatch(
            f"the report's engine file {identity.engine_file[:80]!r} is none of {', '.join(ENGINE_FILES)}"
        )
    engine = FileFacts(identity.engine_bytes, identity.engine_sha256)
    wanted_names = {identity.engine_file, IDENTITY_FILE, GOLDEN_FILE}
    if report.files and (set(report.files) != wanted_names or report.files[identity.engine_file] != engine):
        raise LayerMismatch("the report contradicts itself about the engine's files")
    found: dict[str, FileFacts | None] = {name: report.files.get(name) for name in sorted(wanted_names)}
    found[identity.engine_file] = engine
    folder = engine_folder(spec.model, spec.precision)
    return {str(folder / name): facts for name, facts in found.items()}


def layer_size(files: Files) -> int:
    """Return the bytes of the layer with these files, all of them known."""
    known = [facts for facts in files.values() if facts is not None]
    return len(layer_frame(list(files))) + len(END) + sum(BLOCK + f.size + len(padding(f.size)) for f in known)


def check_layer(stream: BinaryIO, files: Files, keep: str = "") -> bytes:
    """Read a layer from its start and compare it with what it is to hold. Raises LayerMismatch.

    Returns the content of the file whose last name is ``keep``.
    """
    _same(stream, layer_frame(list(files)), "the folders of the engine")
    kept = b""
    for path, facts in sorted(files.items()):
        take = _take_kept if path.endswith(f"/{keep}") else _take
        content = take(stream, path, facts)
        kept = content or kept
    _same(stream, END, "the end of the layer")
    if stream.read(1):
        raise LayerMismatch("something follows the layer's end")
    return kept


def _take(stream: BinaryIO, path: str, facts: FileFacts | None, on_piece: Callable[[bytes], object] = len) -> bytes:
    size = _size_at(stream, path, facts)
    sha256, left = hashlib.sha256(), size
    while left:
        piece = stream.read(min(PIECE, left))
        if not piece:
            raise LayerMismatch(f"the layer ends within {path}")
        sha256.update(piece)
        on_piece(piece)
        left -= len(piece)
    if facts is not None and sha256.hexdigest() != facts.sha256:
        raise LayerMismatch(f"{path} has sha256 {sha256.hexdigest()[:12]}…, its report says {facts.sha256[:12]}…")
    _same(stream, padding(size), f"the fill after {path}")
    return b""


def _take_kept(stream: BinaryIO, path: str, facts: FileFacts | None) -> bytes:
    pieces: list[bytes] = []
    if facts is not None and facts.size > _MOST_IDENTITY:
        raise LayerMismatch(f"{path} has {facts.size} bytes")
    _take(stream, path, facts, pieces.append)
    return b"".join(pieces)


def _size_at(stream: BinaryIO, path: str, facts: FileFacts | None) -> int:
    """Return the size of the file whose header comes now; the header must be the one that we would write."""
    block = stream.read(BLOCK)
    size = facts.size if facts is not None else _said_size(block, path)
    if block != header(path, size):
        raise LayerMismatch(f"the layer holds {_named(block)} where a plain file {path} of {size} bytes is expected")
    return size


def _said_size(block: bytes, path: str) -> int:
    try:
        size = tarfile.TarInfo.frombuf(block, "utf-8", "strict").size
    except (tarfile.TarError, ValueError) as error:
        raise LayerMismatch(f"the layer holds {_named(block)} where {path} is expected") from error
    if not 0 <= size < 1 << 33 or (path.endswith(f"/{IDENTITY_FILE}") and size > _MOST_IDENTITY):
        raise LayerMismatch(f"{path} has {size} bytes")
    return size


def _same(stream: BinaryIO, expected: bytes, what: str) -> None:
    at, found = stream, b""
    while len(found) < len(expected):
        block = at.read(min(BLOCK, len(expected) - len(found)))
        found += block
        if not block or not expected.startswith(found):
            raise LayerMismatch(f"the layer holds {_named(block)} where {what} is expected")


def _named(block: bytes) -> str:
    """Say what a block of a tar is, for a message; whoever wrote it chose its words."""
    if not block.strip(b"\0"):
        return "nothing" if not block else "an end"
    try:
        info = tarfile.TarInfo.frombuf(block, "utf-8", "backslashreplace")
    except (tarfile.TarError, ValueError):
        return "other bytes"
    return f"{_KINDS.get(info.type, 'something')} {info.name[:120]!r}"


def _check_identity(content: bytes, report: EngineReport) -> None:
    try:
        identity = from_json(EngineIdentity, content)
    except (ValueError, RecursionError, OverflowError) as error:
        raise LayerMismatch(f"its {IDENTITY_FILE} cannot be read: {said(error)}") from error
    if identity != report.identity:
        raise LayerMismatch(f"its {IDENTITY_FILE} and its report are of different engines")
