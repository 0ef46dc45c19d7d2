"""Digests of the data that goes into an engine: golden frames and calibration samples."""

from __future__ import annotations

from pathlib import Path

from fleet.manifest.files.named_files import calibration_files, file_sha256
from runtime.contract.codec import digest_of


def golden_digest(path: Path) -> str:
    """Return ``sha256:<hex>`` of the golden data's bytes. Raises OSError."""
    return "sha256:" + file_sha256(path)


def calibration_digest(path: Path) -> str:
    """Return ``sha256:<hex>`` over names and contents of the calibration samples, in order. Raises OSError.

    Files that are no samples do not count: a README next to the images changes no engine.
    """
    return digest_of([[file.name, file_sha256(file)] for file in calibration_files(path)])
