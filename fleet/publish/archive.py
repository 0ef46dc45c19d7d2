"""Takes apart what `docker save` writes: the docker-archive of old Engines, the OCI layout of new ones."""

from __future__ import annotations

import posixpath
import shutil
import tarfile
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from fleet.errors import BuildError, OutsideError
from fleet.publish.streams import PIECE, reader_of
from fleet.tar_entries import PlainTarInfo
from runtime.contract.json_decoder import decode, decode_object

#: Left free on the disk that holds temporary files.
RESERVE_BYTES = 256 << 20
MAX_DOCUMENT_BYTES, MAX_MEMBERS = 16 << 20, 10_000
_HINT = "build the image again; if it happens again, update Docker"


@dataclass(frozen=True, slots=True)
class SavedImage:
    """One image out of an archive."""

    config: bytes
    layers: tuple[Path, ...]
    """Files in order, as the archive holds them (plain or gzip). One file may stand for several layers."""


@dataclass
class _Members:
    """Archive name → file. Files are numbered: no name from outside becomes a path here."""

    folder: Path
    files: dict[str, Path] = field(default_factory=dict)
    links: dict[str, str] = field(default_factory=dict)

    def path(self, name: str) -> Path | None:
        for _ in range(8):  # Old Engines store a layer once and link the others to it.
            if name not in self.links:
                break
            name = self.links[name]
        return self.files.get(name)


def unpack(stream: Iterable[bytes], folder: Path, what: str) -> SavedImage:
    """Write the archive's members into ``folder``. Raises BuildError, and OutsideError when the disk is too small."""
    members = _Members(folder)
    try:
        with tarfile.open(fileobj=reader_of(stream), mode="r|", tarinfo=PlainTarInfo) as archive:
            for count, member in enumerate(archive):
                if count >= MAX_MEMBERS:
                    raise tarfile.TarError(f"more than {MAX_MEMBERS} entries")
                _take(archive, member, members)
    except tarfile.TarError as error:
        raise BuildError(f"{what}: not a tar archive: {error}", hint=_HINT) from error
    try:
        return _docker_archive(members) if "manifest.json" in members.files else _oci_layout(members)
    except (KeyError, IndexError, TypeError, ValueError) as error:
        raise BuildError(f"{what}: not an image archive: {error}", hint=_HINT) from error


def _take(archive: tarfile.TarFile, member: tarfile.TarInfo, members: _Members) -> None:
    name = posixpath.normpath(member.name)
    if member.issym():
        members.links[name] = posixpath.normpath(posixpath.join(posixpath.dirname(name), member.linkname))
    elif member.islnk():
        members.links[name] = posixpath.normpath(member.linkname)
    elif member.isfile():
        require_space(members.folder, member.size)
        path = members.folder / f"member-{len(members.files)}"
        content = archive.extractfile(member)
        if content is None:
            raise tarfile.TarError(f"{name} has no content")
        with path.open("wb") as file:
            shutil.copyfileobj(content, file, PIECE)
        members.files[name] = path


def require_space(folder: Path, size: int) -> None:
    """Check that ``size`` bytes fit, before they are written. Raises OutsideError."""
    free = shutil.disk_usage(folder).free
    if free < size + RESERVE_BYTES:
        raise OutsideError(
            f"{folder}: {size / 1e6:.0f} MB are needed, {free / 1e6:.0f} MB are free "
            f"(of which {RESERVE_BYTES / 1e6:.0f} MB stay so)",
            hint="free space there, or point TMPDIR to a larger disk",
        )


def _docker_archive(members: _Members) -> SavedImage:
    (image,) = decode(_small(members.files["manifest.json"]), "manifest.json")
    config = _small(_existing(members, image["Config"]))
    return SavedImage(config, tuple(_existing(members, name) for name in image["Layers"]))


def _oci_layout(members: _Members) -> SavedImage:
    document = decode_object(_small(members.files["index.json"]), "index.json")
    for _ in range(3):  # An index may hold an index; next to the image there may be attestations.
        if "manifests" not in document:
            break
        document = decode_object(_small(_blob(members, _first_image(document))), "a manifest")
    return SavedImage(
        _small(_blob(members, document["config"])), tuple(_blob(members, layer) for layer in document["layers"])
    )


def _first_image(index: dict[str, Any]) -> dict[str, Any]:
    images = [one for one in index["manifests"] if (one.get("platform") or {}).get("os") != "unknown"]
    return cast("dict[str, Any]", images[0])


def _blob(members: _Members, descriptor: dict[str, Any]) -> Path:
    return _existing(members, "blobs/" + str(descriptor["digest"]).replace(":", "/"))


def _small(path: Path) -> bytes:
    """Return a document of the archive; a layer by its name is not one."""
    if path.stat().st_size > MAX_DOCUMENT_BYTES:
        raise ValueError(f"a document of {path.stat().st_size} bytes")
    return path.read_bytes()


def _existing(members: _Members, name: str) -> Path:
    path = members.path(posixpath.normpath(str(name)))
    if path is None:
        raise KeyError(f"{name} is missing")
    return path
