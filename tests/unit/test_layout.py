"""The rooms of the code: small folders that say what belongs in them, and imports without a circle."""

from __future__ import annotations

import ast
import re
from collections import Counter
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
CODE = sorted(
    path
    for part in ("fleet", "runtime", "benchmarks")
    for path in (ROOT / part).rglob("*.py")
    if "_data" not in path.parts
)
PACKAGES = [path for path in CODE if path.name == "__init__.py" and path.relative_to(ROOT).parts[0] != "benchmarks"]
MOST_FILES = 22


def module_of(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def test_no_folder_of_code_holds_more_files_than_one_looks_through() -> None:
    count = Counter(str(path.parent.relative_to(ROOT)) for path in CODE)
    assert {folder: files for folder, files in count.items() if files > MOST_FILES} == {}


@pytest.mark.parametrize("package", PACKAGES, ids=module_of)
def test_a_folder_says_what_belongs_in_it_and_who_may_import_it(package: Path) -> None:
    said = ast.get_docstring(ast.parse(package.read_text(encoding="utf-8"))) or ""
    assert len(re.findall(r"[.:;](?:\s|$)", said)) >= 2, f"{package}: two sentences, please"
    assert re.search(r"(?i)\bimports?\b", said), f"{package}: who may import it, or what may it import?"


def imported(path: Path, modules: set[str]) -> Iterator[str]:
    """Every module of ours that a file names in an import, wherever it stands, for types only or not."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module:
            for name in node.names:
                full = f"{node.module}.{name.name}"
                yield full if full in modules else node.module
        elif isinstance(node, ast.Import):
            yield from (name.name for name in node.names)


def circle(files: dict[str, Path]) -> list[str]:
    """Return modules that import each other in a circle; empty when there is none."""
    modules = set(files)
    graph = {name: {other for other in imported(path, modules) if other in modules} for name, path in files.items()}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return list(error.args[1])
    return []


def test_no_module_imports_itself_in_a_circle() -> None:
    assert circle({module_of(path): path for path in CODE}) == []


def test_a_circle_would_be_seen(tmp_path: Path) -> None:
    (tmp_path / "one.py").write_text("from two import x\n")
    (tmp_path / "two.py").write_text("def late():\n    from typing import TYPE_CHECKING\n    import one\n")
    assert set(circle({"one": tmp_path / "one.py", "two": tmp_path / "two.py"})) == {"one", "two"}
