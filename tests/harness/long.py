"""The long suite: matrices, soaks and fuzzing, in parts of at most an hour that can be run one by one and resumed.

A part is a file ``tests/**/long_*.py``; one with ``LONG_PARTS = N`` is cut into N parts, of which its tests run that
named by JETFLEET_PART (``2/4``). What a part printed and how it ended is kept in ``.lab/long``. A part that has passed
on this commit is not run again, so a run that was ended goes on where it was.

    python -m tests.harness.long --list | --json
    python -m tests.harness.long [PART ...] [--again]
"""

from __future__ import annotations

import argparse
import ast
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
RESULTS = Path(".lab", "long")
"""Below the checkout's root."""
PART_DEADLINE_S = 3600.0
ENV_PART = "JETFLEET_PART"
PARTS_NAME = "LONG_PARTS"


@dataclass(frozen=True)
class Part:
    """One pytest run of at most an hour."""

    path: str
    """The file, from the checkout's root."""
    number: int
    of: int

    @property
    def name(self) -> str:
        """What a person calls it: ``kill_matrix`` or ``kill_matrix-2``."""
        stem = Path(self.path).stem.removeprefix("long_")
        return stem if self.of == 1 else f"{stem}-{self.number}"


@dataclass(frozen=True)
class Ending:
    """How a part ended, as it is kept."""

    part: str
    commit: str
    exit_code: int
    seconds: float
    summary: str
    """pytest's last line."""


def parts(root: Path) -> list[Part]:
    """Return all parts, by name. Raises ValueError for a count that is no whole number of at least 1."""
    found: list[Part] = []
    for path in sorted((root / "tests").rglob("long_*.py")):
        count = _declared(path)
        found += [Part(str(path.relative_to(root)), number + 1, count) for number in range(count)]
    return sorted(found, key=lambda part: part.name)


def _declared(path: Path) -> int:
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Assign) and any(getattr(to, "id", "") == PARTS_NAME for to in node.targets):
            count = ast.literal_eval(node.value)
            if not isinstance(count, int) or count < 1:
                raise ValueError(f"{path}: {PARTS_NAME} must be a whole number of at least 1, not {count!r}")
            return count
    return 1


def commit(root: Path) -> str:
    """Return what is checked out; with local changes, something that no other run has."""
    told = subprocess.run(["git", "rev-parse", "HEAD"], cwd=root, capture_output=True, text=True, check=True)
    changed = subprocess.run(["git", "status", "--porcelain"], cwd=root, capture_output=True, text=True, check=True)
    return told.stdout.strip() + (f"+changes-{time.time():.0f}" if changed.stdout.strip() else "")


def kept(part: Part, root: Path) -> Ending | None:
    """Return how the part ended last, or None when it has not been run, or when what is kept cannot be read."""
    try:
        return Ending(**json.loads((root / RESULTS / f"{part.name}.json").read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None


def run(part: Part, at: str, root: Path) -> Ending:
    """Run one part to its end or to its deadline, print what it prints, and keep how it ended."""
    results = root / RESULTS
    results.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "pytest", "-s", f"--timeout={PART_DEADLINE_S:.0f}", part.path]
    environment = {**os.environ, ENV_PART: f"{part.number}/{part.of}"}
    started, last = time.monotonic(), ""
    with (
        (results / f"{part.name}.log").open("w", encoding="utf-8") as log,
        subprocess.Popen(
            command, cwd=root, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        ) as process,
    ):
        assert process.stdout is not None
        ends = threading.Timer(PART_DEADLINE_S, process.terminate)  # pytest's own deadline is for one test
        ends.start()
        for line in process.stdout:
            print(line, end="", flush=True)
            log.write(line)
            last = line.strip() or last
        ends.cancel()
    ending = Ending(part.name, at, process.returncode, round(time.monotonic() - started, 1), last.strip("= "))
    text = json.dumps(asdict(ending), indent=2) + "\n"
    (results / f"{part.name}.json").write_text(text, encoding="utf-8")
    return ending


def table(endings: Sequence[Ending]) -> str:
    """Return one line a part."""
    return "\n".join(
        f"{each.part:<24} {'passed' if each.exit_code == 0 else 'FAILED':<7} {each.seconds:>8.1f} s  {each.summary}"
        for each in endings
    )


def main(arguments: Sequence[str] | None = None, root: Path = ROOT) -> int:
    """Run the parts that are named, or all; exit code 1 when one failed, 2 for a name that does not exist."""
    parser = argparse.ArgumentParser(prog="python -m tests.harness.long", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("part", nargs="*", help="parts to run (see --list); all when none is named")
    parser.add_argument("--list", action="store_true", help="print the parts, and how each ended last")
    parser.add_argument("--json", action="store_true", help="print the names of the parts as a JSON list")
    parser.add_argument("--again", action="store_true", help="run also what has passed on this commit")
    options = parser.parse_args(arguments)
    every = {part.name: part for part in parts(root)}
    unknown = [name for name in options.part if name not in every]
    if unknown:
        print(f"no such part: {', '.join(unknown)}; there are {', '.join(every)}", file=sys.stderr)
        return 2
    chosen = [every[name] for name in options.part or every]
    if options.json:
        print(json.dumps([part.name for part in chosen]))
        return 0
    if options.list:
        print("\n".join(f"{part.name:<24} {part.path}  {_last_words(kept(part, root))}" for part in chosen))
        return 0
    return _run_all(chosen, root, again=options.again)


def _last_words(ending: Ending | None) -> str:
    if ending is None:
        return "not run here"
    return f"{'passed' if ending.exit_code == 0 else 'failed'} on {ending.commit[:12]}: {ending.summary}"


def _run_all(chosen: Sequence[Part], root: Path, *, again: bool) -> int:
    at = commit(root)
    endings: list[Ending] = []
    for part in chosen:
        before = kept(part, root)
        if before is not None and before.exit_code == 0 and before.commit == at and not again:
            print(f"{part.name}: passed on this commit already (--again runs it once more)", flush=True)
            endings.append(before)
            continue
        print(f"── {part.name} ({part.path}) ──", flush=True)
        endings.append(run(part, at, root))
    print(table(endings))
    return 1 if any(each.exit_code != 0 for each in endings) else 0


if __name__ == "__main__":
    sys.exit(main())
