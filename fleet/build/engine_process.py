"""The process that has the engine libraries: CUDA, a driver's crash and Ctrl-C stay in it.

`fleet` imports nothing of the engine code. It writes a request, starts ``python -m runtime.engines.tool`` with this
interpreter, shows its lines as progress, and reads the answer (:mod:`runtime.contract.engine.engine_tool`).
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any

import runtime.contract
from fleet.build.sensitivity import gate_error
from fleet.errors import BuildError, FleetError, OutsideError, UsageError
from runtime.contract.codec import ContractError, T, canonical_json, from_dict, from_json
from runtime.contract.engine.build import BuildFailure
from runtime.contract.engine.engine_tool import BUILD, JOB, TOOL_MODULE, USAGE, ToolAnswer

OnLine = Callable[[str], None]

_REMEDY = {
    JOB: "write those lines into the model's file, then build again",
    BUILD: "give those nodes with --exclude-node (int8), or their operators with --keep-fp32-op (fp16)",
}
"""What to do with nodes that cost the accuracy: of a manifest's model, and of a bare file."""
_GATES = ("accuracy", "latency", "precision")
_TAIL_LINES = 20
_END_S = 10.0
"""How long an interrupted process may tidy up before it is killed."""


def ask(verb: str, request: Any, answer: type[T], on_line: OnLine = lambda _: None) -> T:
    """Return the tool's answer to ``request``.

    Raises UsageError (exit 2: a missing file, a wrong option), EngineGateError (4), BuildError or OutsideError (3: what
    the tool says of engine and machine, or that its process crashed).
    """
    with tempfile.TemporaryDirectory(prefix="jetfleet-engine-") as name:
        folder = Path(name)
        (folder / "request.json").write_bytes(_content(request))
        command = [sys.executable, "-m", TOOL_MODULE, verb, "request.json", "answer.json"]
        code, tail = _run(command, folder, on_line)
        try:
            document = from_json(ToolAnswer, (folder / "answer.json").read_bytes())
        except FileNotFoundError:
            raise _crashed(verb, code, tail) from None
    if document.failure is not None:
        raise _error(verb, document.failure)
    try:
        return from_dict(answer, document.result)
    except ContractError as error:  # both sides are of one distribution
        raise FleetError(f"the engine process gave an answer that fleet cannot read: {error}") from error


def _content(request: Any) -> bytes:
    try:
        return canonical_json(request)
    except ValueError as error:
        raise UsageError(f"an option is not a finite number: {error}", hint="give a number") from error


def _run(command: list[str], folder: Path, on_line: OnLine) -> tuple[int, str]:
    """Run the process to its end; return its exit code and last lines. It never outlives this call."""
    root = str(Path(runtime.contract.__file__).resolve().parents[2])
    paths = [root, *filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))]
    # Started in a folder of its own: Python would import what lies in the user's. In a session of its own: Ctrl-C at a
    # terminal reaches fleet alone, which ends the process.
    process = subprocess.Popen(
        command,
        cwd=folder,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(str(Path(path).absolute()) for path in paths)},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    tail: deque[str] = deque(maxlen=_TAIL_LINES)
    try:
        assert process.stdout is not None
        with process.stdout:
            for line in process.stdout:
                text = line.decode("utf-8", "replace").rstrip()
                if text:
                    tail.append(text)
                    on_line(text)
        return process.wait(), "\n".join(f"  {line}" for line in tail)
    finally:
        _end(process)


def _end(process: subprocess.Popen[bytes]) -> None:
    """End the process, and what it started, where it still runs."""
    if process.poll() is None:
        _signal(process, signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(_END_S)
    _signal(process, signal.SIGKILL)
    process.wait()


def _signal(process: subprocess.Popen[bytes], number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, number)


def _error(verb: str, failure: BuildFailure) -> FleetError:
    """Return the error for what the tool itself says."""
    if failure.kind == USAGE:
        return UsageError(failure.message, hint=failure.hint)
    if failure.kind in _GATES:
        return gate_error(failure.message, failure, remedy=_REMEDY.get(verb, failure.hint))
    message = failure.message
    if failure.detail:
        message += "\n" + "\n".join(f"  {line}" for line in failure.detail.strip().splitlines()[-_TAIL_LINES:])
    kind = BuildError if verb in (JOB, BUILD) else OutsideError
    return kind(message, hint=failure.hint)


def _crashed(verb: str, code: int, tail: str) -> FleetError:
    """Return the error for a process that ended without an answer."""
    if code == -signal.SIGKILL:
        return OutsideError(
            f"the engine process (fleet engine {_verb(verb)}) was killed, out of memory most likely",
            hint="stop what else runs, add swap, or use a smaller model; the kernel's log (dmesg) says who was killed",
        )
    if code < 0:
        how = f"{signal.Signals(-code).name}, {signal.strsignal(-code)}"
        return OutsideError(
            f"the engine process (fleet engine {_verb(verb)}) crashed: {how}; its last lines:\n{tail or '  (none)'}",
            hint="a driver or an engine library crashed, not fleet: check that the engine is intact and built for this "
            "device (fleet engine inspect --check), and that its libraries match the driver",
        )
    return OutsideError(
        f"the engine process (fleet engine {_verb(verb)}) ended with exit code {code} and no answer; its last lines:\n"
        f"{tail or '  (none)'}",
        hint="check the installation of this Python's packages; otherwise it is a defect: report it with these lines",
    )


def _verb(verb: str) -> str:
    return "build" if verb == JOB else verb
