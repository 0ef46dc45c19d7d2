"""``pull.json`` on the robot's disk, and the process that looks, reaches out and reports for the daemon."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any, Dict, Optional, Sequence

from runtime.contract.codec import from_json
from runtime.contract.json_decoder import ContractError, decode_object
from runtime.contract.robot.pull_settings import LIMITS, PULL_FILE, PullSettings, check_settings
from runtime.updater.robot import process
from runtime.updater.state.world import WorldError

#: A look asks for some documents and runs ssh-keygen for each signature; it may wait for a slow link.
CHILD_S = 180.0
_CODE = str(Path(__file__).parents[3])
_PROGRAM = (
    "import sys; sys.path.insert(0, sys.argv.pop(1)); from runtime.updater.pull.child import main; sys.exit(main())"
)


def read_pull_file(root: Path) -> Optional[PullSettings]:
    """Return what the robot was told; None for a robot that neither pulls nor reports. Raises WorldError."""
    path = root / PULL_FILE
    try:
        return check_settings(from_json(PullSettings, path.read_bytes(), LIMITS))
    except FileNotFoundError:
        return None
    except (ContractError, OSError) as error:
        raise WorldError("{} cannot be used: {}".format(path, error), "run `fleet bootstrap` again") from error


def ask_child(root: Path, machine: Path, what: Sequence[str], given: Optional[bytes] = None) -> Dict[str, Any]:
    """Have another process do ``what``, and return what it says. Raises WorldError."""
    words = [sys.executable, "-S", "-I", "-c", _PROGRAM, _CODE, *what, "--root", str(root), "--machine", str(machine)]
    ran = process.run(words, CHILD_S, given=given)
    try:
        found: Dict[str, Any] = decode_object(ran.out, "the process that asked the registry")
    except ContractError as error:
        said = process.tail(ran.err.splitlines()[-5:])
        text = "the process that asks registry and hub ended with {}: {}".format(ran.code, said or error)
        raise WorldError(text, "see `journalctl -u fleet-updater`, and report it", transient=True) from error
    return found
