"""Hold the TensorRT backend against APIs that are not installed here: `make check-tensorrt`. No GPU needed.

mypy over `runtime/engines/tensorrt_` with the stubs of 10.13 (builder and runner), and the runner's names against the
imported lean runtime of 10.16, which has no builder: those of `lean_names.py`, and every member of a class that the
runner can name by the stubs. Fetches about 50 MB once, into `.lab/tensorrt-api`.
The stubs do not parse as they are published: each mend below must still be what it says, or the check fails.
"""

from __future__ import annotations

import ast
import json
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / ".lab/tensorrt-api"
STUBS = ("tensorrt-stubs==10.13.0.35.1",)
LEAN = ("tensorrt-lean-cu12-libs==10.16.1.11", "tensorrt-lean-cu12-bindings==10.16.1.11")
OURS = "runtime/engines/tensorrt_"
RUNTIME = ("run/plan.py", "run/runner.py", "run/found_output.py", "log.py")
CLASSES = ("ICudaEngine", "IExecutionContext", "Runtime")
MENDS = (
    (", in: list[", ", in_: list[", 4),  # a keyword as a parameter's name
    ("power: Weights = None, channel_axis: int)", "power: Weights = None, channel_axis: int = ...)", 1),
    ("\nbool: DataType", "\nbool_: DataType", 1),  # else every `bool` in the file is that value, and so unchecked
)
PROBE = FOLDER / "probe.py"
MISTAKES = """\
import tensorrt as trt
def probe(context: trt.IExecutionContext, builder: trt.Builder) -> None:
    context.execute_async_v9(1)
    context.set_tensor_address("x", "y")
    builder.build_serialized_network(1, 2, 3)
"""
"""Three mistakes: where they are not seen, the stubs are not used."""


def fetch(name: str, packages: tuple[str, ...]) -> Path:
    """Return a folder with the packages, fetched when it is not there whole."""
    folder = FOLDER / f"{name}-{packages[0].partition('==')[2]}"
    if not folder.is_dir():
        shutil.rmtree(FOLDER / "new", ignore_errors=True)
        pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(FOLDER / "new")]
        subprocess.run([*pip, *packages], check=True)
        if packages is STUBS:
            repair(FOLDER / "new/tensorrt_bindings/tensorrt.pyi")
        (FOLDER / "new").rename(folder)
    return folder


def repair(stub: Path) -> None:
    """Make the stubs valid Python."""
    text = stub.read_text("utf-8")
    for old, new, times in MENDS:
        if (found := text.count(old)) != times:
            sys.exit(f"{stub.name} holds {old.strip()!r} {found} times, not {times}: look at these stubs anew")
        text = text.replace(old, new)
    stub.write_text(text, "utf-8")


def mypy(stubs: Path, *what: str) -> list[str]:
    """Return what mypy says of our code; the stubs' own errors (names they use and lack) are not ours."""
    command = [sys.executable, "-m", "mypy", "--cache-dir", str(FOLDER / "mypy"), "--no-error-summary", *what]
    done = subprocess.run(
        command, cwd=ROOT, env={"MYPYPATH": str(stubs), "PATH": ""}, capture_output=True, text=True, check=False
    )
    if done.returncode not in (0, 1):
        sys.exit(f"mypy did not check (exit {done.returncode}):\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
    return [line for line in done.stdout.splitlines() if line.startswith((OURS, str(PROBE.relative_to(ROOT))))]


def members_used(stubs: Path) -> dict[str, list[str]]:
    """Return, by class of the runtime, its members in the stubs whose names the runner's files use."""
    used = {
        node.attr
        for file in RUNTIME
        for node in ast.walk(ast.parse((ROOT / OURS / file).read_text("utf-8")))
        if isinstance(node, ast.Attribute)
    }
    module = ast.parse((stubs / "tensorrt_bindings/tensorrt.pyi").read_text("utf-8"))
    return {
        owner.name: sorted({name for each in owner.body if not (name := _name(each)).startswith("_")} & used)
        for owner in module.body
        if isinstance(owner, ast.ClassDef) and owner.name in CLASSES
    }


def _name(member: ast.stmt) -> str:
    """Return a method's or a property's name; of anything else a name that nobody uses."""
    if isinstance(member, ast.FunctionDef):
        return member.name
    return member.target.id if isinstance(member, ast.AnnAssign) and isinstance(member.target, ast.Name) else "_"


def missing(lean: Path, members: dict[str, list[str]]) -> list[str]:
    """Return which of the members the lean runtime does not have, as ``Class.member``."""
    code = (
        "import json, sys, tensorrt_lean_bindings as trt\n"
        "print([f'{o}.{m}' for o, ms in json.load(sys.stdin).items() for m in ms if not hasattr(getattr(trt, o), m)])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={"PYTHONPATH": str(lean), "PATH": ""},
        input=json.dumps(members),
        capture_output=True,
        text=True,
        check=True,
    )
    found: list[str] = ast.literal_eval(done.stdout)
    return found


def main() -> int:
    """Check both; return the exit code."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    stubs, lean = fetch("stubs", STUBS), fetch("lean", LEAN)
    PROBE.write_text(MISTAKES, "utf-8")
    seen = [line for line in mypy(stubs, str(PROBE)) if ": error:" in line]
    if {line.split(":")[1] for line in seen} != {"3", "4", "5"}:
        print("a probe has mistakes in lines 3, 4 and 5, and mypy says (are the stubs used?):\n" + "\n".join(seen))
        return 1
    found = mypy(stubs, "-p", OURS.replace("/", "."))
    print("\n".join(found) or f"{OURS}: mypy strict finds nothing against {STUBS[0]}")
    test = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests/unit/engines/trt/lean_names.py"]
    done = subprocess.run(
        test, cwd=ROOT, env={"PYTHONPATH": str(lean), "PATH": ""}, capture_output=True, text=True, check=False
    )
    ran = done.returncode == 0 and "skipped" not in done.stdout
    print(f"names that the runner uses, against {LEAN[1]}: {done.stdout.strip().splitlines()[-1]}")
    if not ran:
        print(done.stdout[-4000:] + done.stderr[-2000:])
    members = members_used(stubs)
    gone = missing(lean, members)
    for owner, names in members.items():
        print(f"  {owner}: {', '.join(names)}")
    print(f"members of them that 10.16 lacks: {', '.join(gone) or 'none'}")
    return 0 if ran and not found and not gone and all(map(members.get, CLASSES)) else 1


if __name__ == "__main__":
    sys.exit(main())
