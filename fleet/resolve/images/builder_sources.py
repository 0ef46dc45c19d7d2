"""Which files of `runtime` build engines: the job, the profile's backend, and everything that they import.

Found by reading import statements, so that nothing is imported here (a backend's packages are not on this machine) and
no list goes stale. A builder image holds these files alone, and so does the engine key: a change of what the robot
runs, or of a document that no builder reads, leaves all engines as they are.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator
from pathlib import Path

from fleet.errors import FleetError
from fleet.resolve.images.import_cache import ImportCache

_ROOTS = {
    "onnxruntime": ("runtime.engines.build.job", "runtime.engines.onnxruntime_"),
    "tensorrt": ("runtime.engines.build.job", "runtime.engines.tensorrt_", "runtime.engines.tensorrt_.build.child"),
}
"""Backend → modules that are named by strings: started with ``-m``, or imported by their name."""


def builder_sources(root: Path, backend: str, *more: str) -> dict[Path, bytes]:
    """Return path → content of what builds engines with ``backend``, below ``root`` (the package `runtime`).

    ``more``: modules that are wanted too, with what they import. Raises FleetError when an import leads nowhere.
    """
    if backend not in _ROOTS:
        raise FleetError(f"no builder for backend {backend!r}", hint=f"backends: {', '.join(sorted(_ROOTS))}")
    found: dict[Path, bytes] = {}
    to_read = [*_ROOTS[backend], *more]
    while to_read:
        for path in _files_of(to_read.pop(), root):
            if path not in found:
                found[path] = path.read_bytes()
                to_read.extend(_IMPORTS.imports(found[path]))
    _IMPORTS.keep()
    return dict(sorted(found.items()))


def _files_of(module: str, root: Path) -> Iterator[Path]:
    """Return a module's file, and the ``__init__.py`` of every package around it: importing it runs them."""
    folder, parts = root, module.split(".")[1:]
    yield root / "__init__.py"
    for index, part in enumerate(parts):
        if (folder / part / "__init__.py").is_file():
            folder /= part
            yield folder / "__init__.py"
        elif (folder / f"{part}.py").is_file():
            yield folder / f"{part}.py"
            return  # what follows is a name inside the module
        elif index < len(parts) - 1:
            raise FleetError(
                f"`{module}`, which builders import, is not in this installation of jetfleet",
                hint="install it again: pip install --force-reinstall jetfleet",
            )


def _imports(source: bytes) -> tuple[str, ...]:
    """Return the modules of `runtime` that a file imports when it runs, anywhere in it."""
    return tuple(dict.fromkeys(_named(ast.parse(source).body)))


def _named(nodes: Iterable[ast.AST]) -> Iterator[str]:
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names if _is_ours(name.name))
        elif isinstance(node, ast.ImportFrom):
            if node.level == 0 and _is_ours(node.module or ""):
                yield from (f"{node.module}.{name.name}" for name in node.names)
        elif isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
            yield from _named(node.orelse)
        elif isinstance(node, (ast.stmt, ast.ExceptHandler, ast.match_case)):
            yield from _named(ast.iter_child_nodes(node))


def _is_ours(module: str) -> bool:
    return module.partition(".")[0] == "runtime"


_IMPORTS = ImportCache(_imports, Path(__file__))
