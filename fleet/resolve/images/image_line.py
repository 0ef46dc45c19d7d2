"""Which templates and lock files make the images of a profile: by its backend and L4T line, never by guessing."""

from __future__ import annotations

from dataclasses import dataclass

from fleet.errors import UsageError
from fleet.manifest.schema.manifest_schema import Profile
from runtime.contract.jetson import L4tLine, known_lines, line_of

SIM, L4T = "sim", "l4t"


@dataclass(frozen=True, slots=True)
class ImageLine:
    """The suffixes of a profile's files in ``images/``, and what the templates have to know."""

    template: str
    """``sim`` or ``l4t``: ``Dockerfile.<template>.j2``."""
    lock: str
    """``requirements-<lock>.txt``: one for each Python, not for each line."""
    python: str
    """``3.10``: the lock holds wheels for this version only."""
    l4t: L4tLine | None
    """None for the simulated images."""


_SIM = ImageLine(SIM, "sim", "3.11", None)


def image_line(profile: Profile) -> ImageLine:
    """Return the line of a profile's images. Raises UsageError when there is none, naming those that exist."""
    line = _SIM if profile.backend == "onnxruntime" else _l4t(profile)
    if profile.python not in (None, line.python):
        raise UsageError(
            f"profile {profile.name}: its images have Python {line.python}, not {profile.python}",
            hint=f'write python: "{line.python}" in the profile, or remove the key',
        )
    return line


def _l4t(profile: Profile) -> ImageLine:
    found = line_of(profile.l4t)
    if found is None:
        raise UsageError(
            f"profile {profile.name}: there are no image templates for L4T {profile.l4t} "
            f"with TensorRT {profile.tensorrt}: it belongs to no known line",
            hint=f"lines that exist: {known_lines()}; or a profile with backend onnxruntime",
        )
    return ImageLine(L4T, f"l4t-{found.name.partition('.')[0]}", found.python, found)
