"""Where a robot finds a secret: the manifest's words with the ciphertext of `age` read in."""

from __future__ import annotations

from pathlib import Path

from fleet.errors import ManifestError, Problem
from fleet.manifest.schema.secret_schema import RobotSecret
from runtime.contract.robot.release import SecretReference

MOST_BYTES = 64 * 1024


def secret_reference(secret: RobotSecret, root: Path) -> SecretReference:
    """Return the reference. Raises ManifestError for a file that is gone since, or too large."""
    if secret.file is not None:
        return SecretReference("file", secret.file)
    if secret.command is not None:
        return SecretReference("command", secret.command)
    path = root / (secret.age or "")
    try:
        text = path.read_bytes()[: MOST_BYTES + 1].decode("ascii")
    except (OSError, UnicodeDecodeError) as error:
        raise ManifestError(
            [Problem(str(path), 0, "", f"cannot be read: {error}", "encrypt it with: age -a")]
        ) from error
    if len(text) > MOST_BYTES:
        raise ManifestError([Problem(str(path), 0, "", "is more than 64 KiB", "a secret is one line")])
    return SecretReference("age", text)
