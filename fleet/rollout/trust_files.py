"""What a robot believes: allowed signers, revoked keys, threshold; by `fleet bootstrap` and `fleet keys push`."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from pathlib import Path

from fleet.errors import RobotError, UsageError
from fleet.ports import RobotAddress, RobotShell
from fleet.resolve.desired import TrustSpec
from fleet.rollout.robot import MAX_WORDS
from runtime.contract.codec import canonical_json
from runtime.contract.json_decoder import WORDS, ContractError, decode_object
from runtime.contract.printable import printable
from runtime.contract.trust import ALLOWED_SIGNERS, REVOKED, TRUST_FILE, TRUST_FOLDER, TrustSettings
from runtime.contract.update import ROBOT_DIR

TRUST_DIR = f"{ROBOT_DIR}/{TRUST_FOLDER}"
IDENTITY_PATH = f"{ROBOT_DIR}/state/robot.json"
MOST_BYTES = 64 * 1024
"""They travel as one argument of a command."""


def trust_files(fleet: str, trust: TrustSpec) -> dict[str, bytes]:
    """Return the files of a robot's trust folder: name → content. Raises UsageError for one that cannot be read."""
    settings = TrustSettings(fleet, threshold=trust.threshold, unsigned=trust.unsigned)
    files = {TRUST_FILE: canonical_json(settings) + b"\n"}
    for name, path in ((ALLOWED_SIGNERS, trust.signers), (REVOKED, trust.revoked)):
        if path is not None:
            files[name] = _read(path)
    if sum(map(len, files.values())) > MOST_BYTES:
        raise UsageError(
            f"allowed signers and revoked keys are more than {MOST_BYTES >> 10} KiB together",
            hint="use a certificate authority (cert-authority) for the signers, and a KRL for revoked keys",
        )
    return files


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise UsageError(
            f"{path} cannot be read: {error.strerror or error}", hint="correct trust in fleet.yaml"
        ) from error


def install_trust(
    robot: RobotAddress, fleet: str, shell: RobotShell, files: Mapping[str, bytes], *, as_root: bool
) -> bool:
    """Make the robot's trust folder hold these files and no others; return whether that changed anything.

    ``as_root``: the connection is root's already. What was signed by a key that is not there any more is refused from
    the next order on. Raises RobotError.
    """
    parameters = {
        "folder": TRUST_DIR,
        "identity": IDENTITY_PATH,
        "robot": robot.name,
        "fleet": fleet,
        "files": {name: base64.b64encode(content).decode("ascii") for name, content in files.items()},
    }
    program = Path(__file__).with_name("remote_trust.py").read_text(encoding="utf-8")
    command = [*([] if as_root else ["sudo", "-n"]), "python3", "-I", "-", json.dumps(parameters)]
    result = shell.run(command, stdin=program, timeout_s=60.0)
    if result.exit_code != 0:
        words = result.stderr.strip().splitlines() or [f"exit code {result.exit_code}"]
        hint = f"fleet bootstrap --robots {robot.name}" if result.exit_code == 3 else "check sudo and the robot's disk"
        raise RobotError(
            robot.name, f"its allowed signers cannot be written: {printable(words[-1], MAX_WORDS)}", hint=hint
        )
    try:
        return bool(decode_object(result.stdout, "its answer", WORDS)["changed"])
    except (ContractError, KeyError) as error:
        hint = "look at what answers there: fleet exec -- python3 --version; then push the keys again"
        raise RobotError(
            robot.name, f"writing its allowed signers answered without a result: {error}", hint=hint
        ) from error
