"""The device profiles that travel with `fleet`: in the wheel, or in the checkout."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from fleet.errors import UsageError
from fleet.manifest.load import load_profile
from fleet.manifest.schema.manifest_schema import Profile
from fleet.manifest.yaml.explain import did_you_mean
from fleet.resolve.data_files import data_dir

_LAB = "jetfleet-lab"


@dataclass(frozen=True, slots=True)
class ShippedProfile:
    """One of them, with its file's text: comments are part of what a person needs."""

    profile: Profile
    text: str


def shipped_profiles() -> dict[str, ShippedProfile]:
    """Return them by name, sorted."""
    files = sorted(_folder().glob("*.yaml"))
    found = [_shipped(file) for file in files]
    return {each.profile.name: each for each in sorted(found, key=lambda each: each.profile.name)}


def shipped_profile(name: str) -> ShippedProfile:
    """Return the profile called ``name``. Raises UsageError with what is near."""
    profiles = shipped_profiles()
    if name not in profiles:
        raise UsageError(f"no profile is called {name!r}", hint=did_you_mean(name, profiles))
    return profiles[name]


def _shipped(file: Path) -> ShippedProfile:
    """The one profile that the lab runs names the lab's copy of its base image; everywhere else it is Docker Hub's."""
    text = file.read_text(encoding="utf-8").replace(f"{_LAB}/", "")
    profile = load_profile(file)
    base = profile.base_image.removeprefix(f"{_LAB}/")
    return ShippedProfile(profile.model_copy(update={"base_image": base}), text)


def _folder() -> Path:
    return data_dir("profiles")
