"""How a signature is judged with ``ssh-keygen``: the same questions on the operator's machine and on the robot.

Pure but for ``run``, which each side gives: it runs one command. OpenSSH 8.2 or newer knows all of them.
"""

from __future__ import annotations

import base64
import binascii
import re
from pathlib import Path
from typing import Callable, List, Optional, Sequence, Tuple

from runtime.contract.robot.trust import SignatureFacts

Run = Callable[[Sequence[str], bytes], Tuple[int, str, str]]
"""(arguments after ``ssh-keygen``, stdin) → (exit code, stdout, stderr)."""

#: More names of one key are not asked about.
MAX_PRINCIPALS = 8

_KEY = re.compile(r"(SHA256:\S+)")
_AUTHORITY = re.compile(r"^\s*Signing CA: \S+ (SHA256:\S+)", re.MULTILINE)
_ARMOR = re.compile(r"-----BEGIN SSH SIGNATURE-----\s([A-Za-z0-9+/=\s]+)-----END SSH SIGNATURE-----\s*")
_MAGIC = b"SSHSIG"
_CERTIFICATE = "-cert-v01@openssh.com"


def judge_signature(
    run: Run, statement: bytes, namespace: str, *, signature: str, allowed: str, revoked: str = ""
) -> SignatureFacts:
    """Judge the signature in the file ``signature`` over ``statement``, as of now by this machine's clock.

    ``allowed``: an allowed_signers file. ``revoked``: a file of public keys, or a KRL; empty for none. Raises what
    ``run`` raises.
    """
    code, out, err = run(["-Y", "check-novalidate", "-n", namespace, "-s", signature], statement)
    found = _KEY.search(out)
    if code != 0 or found is None:
        said = _said(err) or "no reason given"
        return SignatureFacts(problem="a signature does not belong to this statement as {}: {}".format(namespace, said))
    key = found.group(1)
    authority = _authority(run, signature)
    if authority is None:
        return SignatureFacts(
            key, problem="{}: the certificate authority of this signature's key cannot be read".format(key)
        )
    code, out, err = run(["-Y", "find-principals", "-s", signature, "-f", allowed], b"")
    names = [line.strip() for line in out.splitlines() if line.strip()][:MAX_PRINCIPALS]
    if code != 0 or not names:
        return SignatureFacts(key, problem="{} is not an allowed signer{}".format(key, _because(err)))

    def verify(name: str, *more: str) -> Tuple[bool, str]:
        words = ["-Y", "verify", "-f", allowed, "-I", name, "-n", namespace, "-s", signature, *more]
        code, _, err = run(words, statement)
        return code == 0, err

    blocked: Tuple[str, ...] = ("-r", revoked) if revoked else ()
    principals, reason = [], ""
    for name in names:
        good, err = verify(name, *blocked)
        if good:
            principals.append(name)
        reason = err if not good else reason
    if principals:
        return SignatureFacts(key, tuple(principals), authority=authority)
    if blocked and any(verify(name)[0] for name in names):
        return SignatureFacts(key, (), True, "{} of {} is revoked".format(key, ", ".join(names)))
    return SignatureFacts(key, problem="{} of {} may not sign this{}".format(key, ", ".join(names), _because(reason)))


def _authority(run: Run, signature: str) -> Optional[str]:
    """Return ``SHA256:…`` of the authority whose certificate made the signature, "" where a plain key did.

    None when that cannot be said. What was verified is read here: the certificate is inside of the signature.
    """
    try:
        key = _public_key(Path(signature).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    length = int.from_bytes(key[:4], "big")
    kind = key[4 : 4 + length].decode("ascii", "replace")
    if not kind.endswith(_CERTIFICATE):
        return ""
    line = "{} {}".format(kind, base64.b64encode(key).decode("ascii"))
    code, out, _ = run(["-L", "-f", "-"], line.encode("ascii", "replace"))
    found = _AUTHORITY.search(out)
    return found.group(1) if code == 0 and found else None


def _public_key(armored: str) -> bytes:
    """Return the key that a signature names (PROTOCOL.sshsig: magic, version, then the key). Raises ValueError."""
    match = _ARMOR.fullmatch(armored)
    if match is None:
        raise ValueError("not an armored signature")
    try:
        raw = base64.b64decode("".join(match.group(1).split()), validate=True)
    except binascii.Error as error:
        raise ValueError(str(error)) from error
    start = len(_MAGIC) + 4
    length = int.from_bytes(raw[start : start + 4], "big")
    key = raw[start + 4 : start + 4 + length]
    if raw[: len(_MAGIC)] != _MAGIC or len(key) != length:
        raise ValueError("not an SSH signature")
    return key


def _because(err: str) -> str:
    said = _said(err)
    return ": " + said if said else ""


def _said(err: str) -> str:
    """Return what ssh-keygen gave as its reason: the first line that is not just "no"."""
    lines: List[str] = [line.strip() for line in err.splitlines() if line.strip()]
    telling = [line for line in lines if line not in ("No principal matched.", "Could not verify signature.")]
    return re.sub(r"^\S*/", "", telling[0])[:300] if telling else ""
