"""SSH signatures by the operator's own `ssh-keygen`: keys in files, agents, tokens and certificates, as they are."""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from fleet.errors import SigningError, UsageError
from runtime.contract.robot.signatures import judge_signature
from runtime.contract.robot.trust import SignatureFacts

ASK_S = 30.0
SIGN_S = 180.0
"""Somebody may have to type a passphrase, or to touch a token."""


class SshSigner:
    """A `fleet.ports.Signer`."""

    def fingerprint(self, key: Path) -> str:
        """Return ``SHA256:…`` of a key file: private, public, or a certificate."""
        if not key.exists():
            public = key.with_name(key.name + ".pub")
            hint = f"give the public half, for a key in an agent: {public}" if public.exists() else "check the path"
            raise UsageError(f"the key {key} does not exist", hint=hint)
        code, out, err = _run(["-l", "-f", str(key)], b"")
        found = re.search(r"SHA256:\S+", out)
        if code != 0 or found is None:
            raise UsageError(f"{key} is not a key that ssh-keygen can read: {_last(err)}", hint="check the path")
        return found[0]

    def sign(self, statement: bytes, namespace: str, key: Path) -> str:
        """Sign; at a terminal ssh-keygen may ask for a passphrase or a touch."""
        terminal = sys.stderr.isatty()
        words = ["-q", "-Y", "sign", "-f", str(key), "-n", namespace]
        code, out, err = _run(words, statement, timeout_s=SIGN_S, speaks=terminal)
        if code != 0 or "BEGIN SSH SIGNATURE" not in out:
            raise SigningError(
                f"{key} did not sign: {_last(err) if not terminal else 'ssh-keygen says why above'}",
                hint="for a key in an agent name its .pub file and see ssh-add -l; ssh-keygen cannot ask for a "
                "passphrase without a terminal",
            )
        return out

    def check(
        self, statement: bytes, signature: str, namespace: str, *, allowed: Path, revoked: Path | None
    ) -> SignatureFacts:
        """Judge a signature as a robot would, now."""
        with tempfile.TemporaryDirectory(prefix="jetfleet-signature-") as folder:
            path = Path(folder) / "signature"
            path.write_text(signature, encoding="utf-8")
            return judge_signature(
                _run,
                statement,
                namespace,
                signature=str(path),
                allowed=str(allowed),
                revoked="" if revoked is None else str(revoked),
            )


def _run(words: Sequence[str], given: bytes, *, timeout_s: float = ASK_S, speaks: bool = False) -> tuple[int, str, str]:
    """Run ssh-keygen. ``speaks``: what it says goes to the terminal, where it may ask something."""
    try:
        done = subprocess.run(
            ["ssh-keygen", *words],
            input=given,
            stdout=subprocess.PIPE,
            stderr=None if speaks else subprocess.PIPE,
            timeout=timeout_s,
            check=False,
        )
    except FileNotFoundError as error:
        raise SigningError("ssh-keygen is not installed", hint="install openssh-client") from error
    except subprocess.TimeoutExpired as error:
        raise SigningError(
            f"ssh-keygen did not answer within {timeout_s:g} s", hint="is it waiting for a passphrase or a touch?"
        ) from error
    return done.returncode, done.stdout.decode("utf-8", "replace"), (done.stderr or b"").decode("utf-8", "replace")


def _last(err: str) -> str:
    lines = [line.strip() for line in err.splitlines() if line.strip()]
    return lines[-1][:300] if lines else "it gave no reason"
