"""What a robot believes: allowed signers, revoked keys, threshold; by `fleet bootstrap` and `fleet keys push`."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from pathlib import Path

from fleet.errors import RobotError, UsageError
from fleet.link.remote_python import answer_of, run_program, words_of
from fleet.ports import RobotAddress, RobotShell
from fleet.signing.trust_spec import TrustSpec
from runtime.contract.codec import canonical_json
from runtime.contract.robot.trust import ALLOWED_SIGNERS, REVOKED, TRUST_FILE, TRUST_FOLDER, TrustSettings
from runtime.contract.robot.update import ROBOT_DIR

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
    program = Path(__file__).with_name("remote_trust.py")
    result = run_program(shell, program, parameters, as_root=as_root, timeout_s=60.0)
    if result.exit_code != 0:
        hint = f"fleet bootstrap --robots {robot.name}" if result.exit_code == 3 else "check sudo and the robot's disk"
        raise RobotError(robot.name, f"its allowed signers cannot be written: {words_of(result)}", hint=hint)
    return bool(answer_of(robot.name, result, "its allowed signers").get("changed"))
