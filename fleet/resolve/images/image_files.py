"""The files of an image's build context: what lies in ``images/`` and the sources of `runtime`, as bytes."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterable, Mapping
from pathlib import Path

import jinja2

from fleet.errors import FleetError
from fleet.resolve.data_files import data_dir
from fleet.resolve.images.builder_sources import builder_sources

SOURCE_DIR = "lib"
"""Where the context holds the `runtime` package; becomes ``/opt/jetfleet/lib``."""

FROM_SOURCE = ("pycuda",)
"""Packages without wheels: fetched as source, built in a stage of the image."""

_BUILD_TOOLS = ("numpy", "setuptools")
"""What that stage needs."""
_ONLY_TO_BUILD = ("setuptools",)
SEARCH_MODULE = "runtime.engines.tool.tune"
_NOT_IN_RUNTIME = ("updater",)
_TEMPLATES = ("Dockerfile.", "requirements-")


def name_of(requirement: str) -> str:
    """Return the package of a pinned requirement: ``numpy==1.26.4 --hash=…`` → numpy."""
    return requirement.partition("==")[0]


# ── templates ────────────────────────────────────────────────────────────────────────────────────────────────────


def render(template: str, **context: object) -> str:
    """Render a template of ``images/``, which may import from its other folders. Raises FleetError."""
    environment = jinja2.Environment(  # noqa: S701  (renders Dockerfiles; autoescape is for HTML)
        loader=jinja2.FileSystemLoader(str(data_dir("images"))),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    try:
        return environment.get_template(template).render(**context)
    except jinja2.TemplateError as error:
        raise FleetError(
            f"images/{template} cannot be rendered: {error}",
            hint="this is a defect of the template: report it with the profile's file",
        ) from error


def baked_environment(kind: str) -> dict[str, str]:
    """Read ``KEY=value`` lines, which are baked into the image; empty for a kind of image that has no such file."""
    path = data_dir("images") / kind / "runtime.env"
    pairs = (line.partition("=") for line in _content_lines(path)) if path.is_file() else ()
    return {key: value for key, _, value in pairs}


def beside_template(kind: str) -> dict[str, bytes]:
    """Return the files next to a template that a Dockerfile may COPY, by name."""
    folder = data_dir("images") / kind
    return {
        path.name: path.read_bytes()
        for path in sorted(folder.iterdir())
        if path.is_file() and not path.name.startswith((*_TEMPLATES, "."))
    }


# ── Python packages ──────────────────────────────────────────────────────────────────────────────────────────────


def locked_requirements(kind: str, lock: str) -> tuple[str, ...]:
    """Return the pinned requirements of a lock file."""
    return _content_lines(data_dir("images") / kind / f"requirements-{lock}.txt")


def requirement_files(requirements: tuple[str, ...]) -> dict[str, bytes]:
    """Return the files that pip reads inside the build: what is installed, and what is built there and with what."""
    source = [line for line in requirements if name_of(line) in FROM_SOURCE]
    if not source:
        return {"requirements.txt": _text(requirements)}
    left_out = (*FROM_SOURCE, *_ONLY_TO_BUILD)
    return {
        "requirements.txt": _text(line for line in requirements if name_of(line) not in left_out),
        "requirements-build.txt": _text(line for line in requirements if name_of(line) in _BUILD_TOOLS),
        "requirements-source.txt": _text(source),
    }


def _text(lines: Iterable[str]) -> bytes:
    return ("\n".join(lines) + "\n").encode()


def _content_lines(path: Path) -> tuple[str, ...]:
    lines = (line.strip() for line in path.read_text(encoding="utf-8").splitlines())
    return tuple(line for line in lines if line and not line.startswith("#"))


# ── sources ──────────────────────────────────────────────────────────────────────────────────────────────────────


def runtime_sources(kind: str, backend: str) -> Mapping[str, bytes]:
    """Return the sources of `runtime` that an image of this kind holds, by their path in the context.

    A builder's are those that its ``backend`` needs: a change of the executor must not change an engine's key.
    """
    root = _runtime_root()
    found = builder_sources(root, backend) if kind == "builder" else _runtime_files(root)
    return {f"{SOURCE_DIR}/runtime/{path.relative_to(root).as_posix()}": content for path, content in found.items()}


def search_sources(backend: str) -> Mapping[str, bytes]:
    """Return the sources that `fleet engine tune` runs in a builder's container, by their path below a folder.

    They travel with the question: in the image, and so in every engine's key, is only what builds engines.
    """
    root = _runtime_root()
    found = builder_sources(root, backend, SEARCH_MODULE)
    return {f"runtime/{path.relative_to(root).as_posix()}": content for path, content in found.items()}


def _runtime_root() -> Path:
    spec = importlib.util.find_spec("runtime")
    if spec is None or not spec.submodule_search_locations:
        raise FleetError(
            "the package `runtime`, which goes into every image, is not installed with `fleet`",
            hint="install it again: pip install --force-reinstall jetfleet",
        )
    return Path(next(iter(spec.submodule_search_locations)))


def _runtime_files(root: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in sorted(root.rglob("*")) if _is_runtime_source(path, root)}


def _is_runtime_source(path: Path, root: Path) -> bool:
    parts = path.relative_to(root).parts
    if not path.is_file() or path.suffix == ".pyc" or "__pycache__" in parts or path.name.startswith("."):
        return False
    return parts[0] not in _NOT_IN_RUNTIME
