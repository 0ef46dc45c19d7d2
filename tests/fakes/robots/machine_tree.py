"""Writes a machine's /proc and /sys from its `.tree` file (tests/fakes/machines/README.md)."""

from __future__ import annotations

from pathlib import Path

MACHINES = Path(__file__).parents[1] / "machines"
GENERATIONS = ("l4t-35", "l4t-36", "l4t-39")


def write_machine(root: Path, name: str) -> Path:
    """Write the machine called ``name`` below ``root`` and return it."""
    for line in (MACHINES / f"{name}.tree").read_text(encoding="utf-8").splitlines():
        if line and not line.startswith("#"):
            _write(root, line)
    return root


def _write(root: Path, line: str) -> None:
    if line.endswith(" !"):
        # A folder in its place: refused whoever reads it, also root, for whom a mode would forbid nothing.
        (root / line.removesuffix(" !")).mkdir(parents=True)
        return
    name, kind, value = line.split(" ", 2)
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    if kind == "->":
        path.symlink_to(value)
        return
    assert kind == "=", line
    path.write_text(value.replace("\\n", "\n") + "\n", encoding="utf-8")
