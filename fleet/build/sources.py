"""A model's ONNX file, wherever it is, as a local file whose sha256 is the pinned one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from fleet.build.cache import locked
from fleet.cache_folder import cache_dir
from fleet.errors import BuildError, UsageError
from fleet.manifest.files.named_files import file_sha256
from fleet.ports import Downloader, Registry
from fleet.resolve.desired import EngineSpec

RegistryAt = Callable[[str], Registry]
"""Registry host (``registry.example:5000``) → client."""

_DEADLINE_S = 3600.0


class SourceCache:
    """Files come from the manifest's folder; URLs and OCI references through the operator's cache, by sha256."""

    def __init__(self, downloader: Downloader, registry_at: RegistryAt) -> None:
        self._downloader = downloader
        self._registry_at = registry_at

    def fetch(self, spec: EngineSpec) -> Path:
        """Return the model's file. Raises BuildError (changed file), OutsideError (download), RegistryError."""
        source = spec.source
        if spec.source_path is not None:
            self._check(spec, spec.source_path, spec.source.sha256, "source.sha256")
            for name, digest in spec.source.data.items():
                self._check(spec, spec.source_path.parent / name, digest, "source.data")
            return spec.source_path
        cached = cache_dir() / "sources" / f"{source.sha256}.onnx"
        with locked(f"source-{source.sha256[:32]}", f"fetching model {spec.model}", deadline_s=_DEADLINE_S):
            if not (cached.is_file() and file_sha256(cached) == source.sha256):
                cached.parent.mkdir(parents=True, exist_ok=True)
                self._fetch(spec, cached)
        return cached

    def _check(self, spec: EngineSpec, path: Path, pinned: str, key: str) -> None:
        try:
            found = file_sha256(path)
        except OSError as error:
            raise BuildError(
                f"{spec.model}: cannot read its ONNX file: {error}", hint="restore the file and run the command again"
            ) from error
        if found != pinned:
            raise BuildError(
                f"{spec.model}: {path} has sha256 {found[:12]}…, the manifest pins {pinned[:12]}…",
                hint=f"the file changed since the manifest was read: restore it, or update {key}",
            )

    def _fetch(self, spec: EngineSpec, to: Path) -> None:
        source = spec.source
        if source.url is not None:
            self._downloader.fetch(source.url, to, sha256=source.sha256)
        elif source.oci is not None:
            host, repository = parse_oci(source.oci)
            self._registry_at(host).fetch_blob(repository, f"sha256:{source.sha256}", to)
        else:
            raise UsageError(
                f"{spec.model}: its source names a file that was not found", hint="run fleet validate for the details"
            )


def parse_oci(reference: str) -> tuple[str, str]:
    """Split ``oci://host[:port]/repository[:tag|@digest]`` into host and repository.

    The file is a layer of that artifact, as `oras push` stores it, so its sha256 alone finds it; tag and digest are
    for people. Raises UsageError.
    """
    host, slash, rest = reference.removeprefix("oci://").partition("/")
    repository = rest.partition("@")[0]
    if ":" in repository.rpartition("/")[2]:
        repository = repository.rpartition(":")[0]
    if not (slash and repository and ("." in host or ":" in host or host == "localhost")):
        raise UsageError(
            f"{reference!r} is not an OCI reference", hint="write registry.example:5000/models/sign_text:1"
        )
    return host, repository
