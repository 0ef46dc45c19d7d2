"""The fingerprint of a public key, as OpenSSH prints it."""

from __future__ import annotations

import base64
import hashlib


def fingerprint(blob: bytes) -> str:
    """Return ``SHA256:…`` of a public key as it is sent, as `ssh-keygen -l` prints it."""
    return "SHA256:" + base64.b64encode(hashlib.sha256(blob).digest()).decode().rstrip("=")
