"""How builder and runtime images are built, as data: templates of ``images/`` rendered for a profile.

Nothing here talks to Docker or a registry: a recipe's digest, and so every engine key, is a function of the
installed `jetfleet` and the profile alone. The same on every machine: no times, no absolute paths, no file modes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from functools import lru_cache

from fleet.errors import FleetError
from fleet.manifest.schema.manifest_schema import Profile
from fleet.resolve.desired import Recipe
from fleet.resolve.images.image_files import (
    baked_environment,
    beside_template,
    locked_requirements,
    render,
    requirement_files,
    runtime_sources,
)
from fleet.resolve.images.image_line import ImageLine, image_line
from runtime.contract.codec import digest_of

KINDS = ("builder", "runtime")

_RECIPE_FORMAT = 1
_FAST_DDS_3, _FAST_DDS_2 = "FASTDDS_DEFAULT_PROFILES_FILE", "FASTRTPS_DEFAULT_PROFILES_FILE"


@lru_cache(maxsize=256)
def recipe_for(kind: str, profile: Profile) -> Recipe:
    """Return the recipe of the ``builder`` or ``runtime`` image of a profile; the same object for equal arguments.

    Raises UsageError when there are no templates for the profile's L4T line.
    """
    if kind not in KINDS:
        raise FleetError(f"no recipe of kind {kind!r}", hint=f"kinds: {', '.join(KINDS)}")
    line = image_line(profile)
    requirements = locked_requirements(kind, line.lock)
    files = {
        **beside_template(kind),
        **runtime_sources(kind, profile.backend),
        **requirement_files(requirements),
        "Dockerfile": _dockerfile(kind, line, profile).encode(),
    }
    return Recipe(kind, profile, files, requirements, _digest(kind, profile, files, requirements))


def python_version(profile: Profile) -> str:
    """Return the Python version (``3.11``) that the images of a profile run; wheels are fetched for it."""
    return image_line(profile).python


def _dockerfile(kind: str, line: ImageLine, profile: Profile) -> str:
    environment = baked_environment(kind)
    if line.l4t is not None:
        environment = _for_fast_dds_2(environment, line.l4t.ros_distro)
    return render(
        f"{kind}/Dockerfile.{line.template}.j2",
        profile=profile,
        python=line.python,
        environment=environment,
        line=line.l4t,
    )


def _for_fast_dds_2(environment: Mapping[str, str], ros_distro: str) -> dict[str, str]:
    """Humble and Jazzy have Fast DDS 2, which reads its profile by another variable; Humble has no discovery range."""
    result = {_FAST_DDS_2 if key == _FAST_DDS_3 else key: value for key, value in environment.items()}
    if environment and ros_distro == "humble":
        result["ROS_LOCALHOST_ONLY"] = "1"
    return result


def _digest(kind: str, profile: Profile, files: Mapping[str, bytes], requirements: tuple[str, ...]) -> str:
    return digest_of(
        {
            "format": _RECIPE_FORMAT,
            "kind": kind,
            "base_image": profile.base_image,
            "platform": profile.platform,
            "backend": profile.backend,
            "ros_distro": profile.ros_distro,
            "files": {path: hashlib.sha256(content).hexdigest() for path, content in files.items()},
            "requirements": list(requirements),
        }
    )
