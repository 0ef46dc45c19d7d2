"""Python wheels for an image, fetched on the operator's machine with the user's own pip settings.

A package without wheels comes as its source and is built in a stage of the image. No index, proxy or certificate
authority has to reach into a container, and the same wheels give the same image.
"""

from __future__ import annotations

import hashlib
import importlib.util
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from fleet.build.cache import locked
from fleet.cache_folder import cache_dir
from fleet.errors import BuildError
from fleet.resolve.desired import Recipe
from fleet.resolve.images.image_files import FROM_SOURCE, name_of
from fleet.resolve.images.recipe import python_version

_MACHINES = {"linux/amd64": "x86_64", "linux/arm64": "aarch64"}
_GLIBC = ("2_28", "2_27", "2_24", "2_17", "2_12", "2_5")
"""manylinux tags that the images' C library satisfies; pip matches them literally, newest first."""
_DEADLINE_S = 1800.0


def fetch_wheels(recipe: Recipe) -> Path:
    """Return a folder with exactly the wheels that the recipe pins; from the cache when they are there.

    Raises BuildError: a package has no wheel for the platform, pip cannot reach its index, a hash does not match.
    """
    _refuse_ros_without_wheels(recipe)
    python = python_version(recipe.profile)
    name = _cache_key(recipe.profile.platform, python, recipe.requirements)
    folder = cache_dir() / "wheels" / name
    if folder.is_dir():
        return folder
    with locked(f"wheels-{name}", f"fetching the wheels of {recipe.tag}", deadline_s=_DEADLINE_S):
        if not folder.is_dir():
            _download(recipe, python, folder)
    return folder


def _cache_key(platform: str, python: str, requirements: Sequence[str]) -> str:
    return hashlib.sha256("\n".join([platform, python, *requirements]).encode()).hexdigest()[:32]


def _refuse_ros_without_wheels(recipe: Recipe) -> None:
    """ROS 2 is published as wheels for x86-64 only; pip's own words for that would send a person the wrong way."""
    if recipe.profile.platform != "linux/amd64" and any(line.startswith("ros-") for line in recipe.requirements):
        raise BuildError(
            f"profile {recipe.profile.name}: the {recipe.kind} image cannot be built for {recipe.profile.platform}: "
            "ROS 2 is published as Python wheels for x86-64 only",
            hint="engines for this profile can be built; to run them use a profile with platform linux/amd64, "
            "or a Jetson profile, whose image has ROS 2 from apt",
        )


def _download(recipe: Recipe, python: str, folder: Path) -> None:
    folder.parent.mkdir(parents=True, exist_ok=True)
    partial = Path(tempfile.mkdtemp(prefix=".partial-", dir=folder.parent))
    try:
        lock = partial / "requirements.txt"
        lock.write_text("\n".join(recipe.requirements) + "\n")
        _run_pip(recipe, _pip_command(recipe, python, lock, partial))
        lock.unlink()
        partial.chmod(0o755)
        partial.replace(folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _pip_command(recipe: Recipe, python: str, lock: Path, to: Path) -> list[str]:
    machine = _MACHINES[recipe.profile.platform]
    sources = [name for name in map(name_of, recipe.requirements) if name in FROM_SOURCE]
    tags = [f"manylinux_{glibc}_{machine}" for glibc in _GLIBC] + [f"manylinux2014_{machine}"]
    return [
        sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-input",
        "--no-deps", "--only-binary=:all:", *(f"--no-binary={name}" for name in sources),
        "--require-hashes", "--implementation=cp",
        f"--python-version={python.replace('.', '')}", *(f"--platform={tag}" for tag in tags),
        f"--dest={to}", f"--requirement={lock}",
    ]  # fmt: skip


def _run_pip(recipe: Recipe, command: Sequence[str]) -> None:
    if importlib.util.find_spec("pip") is None:
        raise BuildError(
            f"this Python ({sys.executable}) has no pip, which fetches the packages of {recipe.kind} images",
            hint=f"install it: {sys.executable} -m ensurepip, or `uv pip install pip` in an environment made by uv",
        )
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_DEADLINE_S, check=False)
    except subprocess.TimeoutExpired as error:
        raise BuildError(
            f"pip did not fetch the wheels of {recipe.tag} within {_DEADLINE_S:.0f} s",
            hint="check the network and the index that pip is set to (`pip config list`), then run the command again",
        ) from error
    if done.returncode != 0:
        words = "\n".join(f"  {line}" for line in done.stderr.strip().splitlines()[-12:])
        raise BuildError(
            f"pip could not fetch the wheels of the {recipe.kind} image for profile {recipe.profile.name}:\n{words}",
            hint=_hint(done.stderr),
        )


def _hint(words: str) -> str:
    text = words.lower()
    if "do not match the hashes" in text:
        return "the index serves other bytes than those that were locked: check pip's index (`pip config list`)"
    if "certificate" in text:
        return "tell pip about your authority: pip config set global.cert /path/to/ca.pem"
    if "no space left" in text:
        return "make room on this machine, or set XDG_CACHE_HOME to a disk with room"
    if "no matching distribution" in text and "connection" not in text:
        return (
            "the index that pip uses lacks this package (`pip config list`); a mirror must carry wheels for the image"
        )
    return "check that pip reaches its index (`pip download six` as this user), then run the command again"
