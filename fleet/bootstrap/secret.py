"""A secret that the manifest names by reference: read when it is needed, kept in memory alone."""

from __future__ import annotations

import os
import shlex
import subprocess
from pathlib import Path

from fleet.errors import UsageError
from fleet.manifest.schema.registry_schema import Secret

COMMAND_TIMEOUT_S = 60.0
MOST_BYTES = 64 * 1024


def read_secret(secret: Secret, what: str) -> str:
    """Return its first line. Raises UsageError, which names ``what`` and the place, and never the secret."""
    if secret.env is not None:
        found = os.environ.get(secret.env, "")
        place, hint = f"the variable {secret.env}", f"set it: export {secret.env}=…"
    elif secret.file is not None:
        found, place, hint = _from_file(secret.file, what), secret.file, "write the secret into its first line"
    else:
        command = secret.command or ""
        found, place, hint = _from_command(command, what), f"`{command}`", "run it by hand: it must print the secret"
    line = found.split("\n", 1)[0].rstrip("\r")
    if not line:
        raise UsageError(f"{what}: {place} is empty", hint=hint)
    return line


def _from_file(name: str, what: str) -> str:
    path = Path(name)
    try:
        with path.open("rb") as file:
            content = file.read(MOST_BYTES)
    except OSError as error:
        raise UsageError(
            f"{what}: {path} cannot be read: {error.strerror or error}", hint="correct the file's name in fleet.yaml"
        ) from error
    return _text(content, what, name)


def _from_command(command: str, what: str) -> str:
    words = shlex.split(command)
    try:
        done = subprocess.run(
            words, stdin=subprocess.DEVNULL, capture_output=True, timeout=COMMAND_TIMEOUT_S, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise UsageError(
            f"{what}: `{command}` gave no answer within {COMMAND_TIMEOUT_S:g} s",
            hint="run it by hand: it may be asking for a passphrase",
        ) from error
    except OSError as error:
        raise UsageError(
            f"{what}: `{command}` cannot be run: {error.strerror or error}",
            hint="correct the command in fleet.yaml, or install the program",
        ) from error
    if done.returncode != 0:
        said = done.stderr[:500].decode("utf-8", "replace").strip() or "no output"
        raise UsageError(
            f"{what}: `{command}` ended with exit code {done.returncode}: {said}",
            hint="run it by hand and correct that",
        )
    return _text(done.stdout[:MOST_BYTES], what, f"`{command}`")


def _text(content: bytes, what: str, place: str) -> str:
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as error:
        raise UsageError(f"{what}: {place} is not text", hint="a secret is one line of UTF-8") from error
