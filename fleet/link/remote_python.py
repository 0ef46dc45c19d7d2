"""Programs of ours at a robot: sent with their parameters as one piece, and run only when that piece is whole.

Python at the robot checks the digest of all that arrived before it does anything, so that no shell, link or terminal
between here and there can change a byte of what is then written.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fleet.errors import RobotError
from fleet.link.robot import MAX_WORDS
from fleet.ports import CommandResult, RobotShell
from runtime.contract.json_decoder import WORDS, ContractError, decode_object
from runtime.contract.printable import printable

EXIT_DAMAGED = 5
_MAX_SHOWN = 120
#: The one program that travels as an argument. Python 3.8.
LOADER = (
    "import hashlib,json,sys;d=sys.stdin.buffer.read();"
    f"sys.exit({EXIT_DAMAGED}) if hashlib.sha256(d).hexdigest()!=sys.argv[1] else None;"
    "p=json.loads(d);sys.argv=['-',json.dumps(p['parameters'])];"
    "exec(compile(p['program'],p['name'],'exec'),{'__name__':'__main__'})"
)


def run_program(
    shell: RobotShell, program: Path, parameters: Mapping[str, Any], *, as_root: bool, timeout_s: float
) -> CommandResult:
    """Run a program of ours as root; its one argument is ``parameters`` as JSON.

    ``as_root``: the connection is root's already. EXIT_DAMAGED: what arrived is not what was sent.
    """
    text = program.read_text(encoding="utf-8")
    sent = json.dumps({"program": text, "name": program.name, "parameters": parameters}, sort_keys=True)
    digest = hashlib.sha256(sent.encode()).hexdigest()
    command = [*([] if as_root else ["sudo", "-n"]), "python3", "-I", "-c", LOADER, digest]
    return shell.run(command, stdin=sent, timeout_s=timeout_s)


def words_of(result: CommandResult) -> str:
    """Return why a program of ours did not end well: its last line, or what there is."""
    if result.exit_code == EXIT_DAMAGED:
        return "the data arrived damaged; nothing was written"
    lines = [line.strip() for line in result.stderr.splitlines() if line.strip()]
    return printable(lines[-1], MAX_WORDS) if lines else f"exit code {result.exit_code}"


def answer_of(robot: str, result: CommandResult, what: str) -> dict[str, Any]:
    """Return the JSON object that a program of ours printed. Raises RobotError for anything else."""
    try:
        return decode_object(result.stdout, "its answer", WORDS, clean=printable)
    except ContractError as error:
        shown = printable(" ".join(result.stdout.split()), _MAX_SHOWN) or "nothing"
        raise RobotError(
            robot,
            f"{what}: its answer cannot be read: {shown!r}",
            hint=f"see what the robot prints by itself: fleet exec --robots {robot} -- true",
        ) from error
