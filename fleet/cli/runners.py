"""Which CI runners a manifest may ask for. A profile's name is written by whoever opens a pull request."""

from __future__ import annotations

import re

from fleet.errors import UsageError

#: Labels of CI systems' own, and those of runners that plan and publish: no builder carries them.
_RESERVED = re.compile(
    r"self-hosted|linux|windows|macos|x64|x86|arm|arm64|gpu|default|latest|(?:ubuntu|windows|macos)-.*|fleet(?:-.*)?|"
    r".*publish.*|.*release.*"
)
#: Names of the profiles that come with Jetfleet: the builders that are allowed where nobody named any.
SHIPPED = re.compile(r"sim-(?:x86|arm64)|orin-(?:nano-[48]gb|nx-(?:8|16)gb)-jp[0-9]{2}")


def allowed_labels(text: str | None) -> frozenset[str] | None:
    """Return the labels of a comma- or space-separated list; None where nothing was given. Raises UsageError."""
    words = frozenset(re.split(r"[,\s]+", text.strip())) - {""} if text else frozenset[str]()
    if reserved := sorted(word for word in words if _RESERVED.fullmatch(word)):
        raise UsageError(
            f"{', '.join(reserved)} may not be a builder's label: other runners have it",
            hint="name builders' runners after their profiles, as in --runners orin-nano-8gb-jp62,sim-x86",
        )
    return words or None


def runner_of(profile: str, allowed: frozenset[str] | None) -> list[str]:
    """Return ``runs-on`` for a builder of this profile. Raises UsageError when the profile is no allowed label."""
    fits = profile in allowed if allowed is not None else SHIPPED.fullmatch(profile) is not None
    if not fits or _RESERVED.fullmatch(profile):
        known = ", ".join(sorted(allowed)) if allowed is not None else "the profiles that come with Jetfleet"
        raise UsageError(
            f"the profile {profile} is not a builder that CI may use; those are {known}",
            hint="add its label to --runners (FLEET_RUNNERS, in CI a variable of the "
            "repository, which a pull request cannot change)",
        )
    return ["self-hosted", profile]
