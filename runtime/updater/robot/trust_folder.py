"""``/var/lib/jetfleet/trust`` and ``ssh-keygen``: the real robot's side of trust."""

from __future__ import annotations

from pathlib import Path
from typing import Optional, Sequence, Tuple

from runtime.contract.codec import ContractError, from_json
from runtime.contract.robot.signatures import judge_signature
from runtime.contract.robot.trust import (
    ALLOWED_SIGNERS,
    REVOKED,
    TRUST_FILE,
    TRUST_FOLDER,
    SignatureFacts,
    TrustSettings,
)
from runtime.updater.robot import process
from runtime.updater.state.world import WorldError

KEYGEN_S = 20.0


class TrustFolder:
    """Reads what bootstrap wrote, and asks ``ssh-keygen`` about signatures."""

    def __init__(self, root: Path) -> None:
        self._trust = root / TRUST_FOLDER
        self._signature = root / "state" / "signature"

    def trust(self) -> Optional[TrustSettings]:
        """Return what this robot wants to see signed, or None when nobody ever said so."""
        path = self._trust / TRUST_FILE
        try:
            return from_json(TrustSettings, path.read_bytes())
        except FileNotFoundError:
            return None
        except (OSError, ContractError) as error:
            raise WorldError("{} cannot be read: {}".format(path, error), "run `fleet bootstrap` again") from error

    def check_signature(self, statement: str, signature: str, namespace: str) -> SignatureFacts:
        """Judge one armored signature over ``statement`` against the allowed signers and revoked keys of this robot."""
        allowed, revoked = self._trust / ALLOWED_SIGNERS, self._trust / REVOKED
        if not allowed.exists():
            raise WorldError("{} is missing".format(allowed), "run `fleet bootstrap` again")
        try:
            self._signature.parent.mkdir(parents=True, exist_ok=True)
            self._signature.write_text(signature, encoding="utf-8")
        except OSError as error:
            raise WorldError(
                "cannot write {}: {}".format(self._signature, error), "free space on that volume"
            ) from error
        return judge_signature(
            _run,
            statement.encode("utf-8"),
            namespace,
            signature=str(self._signature),
            allowed=str(allowed),
            revoked=str(revoked) if revoked.exists() else "",
        )


def _run(words: Sequence[str], given: bytes) -> Tuple[int, str, str]:
    try:
        ran = process.run(["ssh-keygen", *words], KEYGEN_S, given=given)
    except WorldError as error:
        hint = "install openssh-client on the robot"
        raise WorldError(error.message, hint, transient=error.transient) from error
    return ran.code, ran.out, ran.err
