from __future__ import annotations

import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from fleet.build import wheels as wheels_module
from fleet.build.wheels import fetch_wheels
from fleet.errors import BuildError
from fleet.manifest.schema.manifest_schema import Profile
from fleet.resolve.images.recipe import recipe_for
from tests.unit.resolve.test_recipe import SIM
from tests.unit.resolve.test_recipe_l4t import jetson

RECIPE = recipe_for("builder", Profile(**SIM))


class Pip:
    """Stands where pip is started: writes a wheel, or fails with words."""

    def __init__(self, stderr: str = "") -> None:
        self.stderr = stderr
        self.commands: list[list[str]] = []

    def __call__(self, command: Sequence[str], **_: Any) -> subprocess.CompletedProcess[str]:
        self.commands.append(list(command))
        to = next(Path(item.removeprefix("--dest=")) for item in command if item.startswith("--dest="))
        (to / "numpy-2-cp311-cp311-manylinux_2_28_x86_64.whl").write_bytes(b"wheel")
        return subprocess.CompletedProcess(command, 1 if self.stderr else 0, "", self.stderr)


@pytest.fixture
def pip(monkeypatch: pytest.MonkeyPatch) -> Pip:
    pip = Pip()
    monkeypatch.setattr(wheels_module.subprocess, "run", pip)
    return pip


def test_fetched_once_into_the_cache(pip: Pip, cache: Path) -> None:
    folder = fetch_wheels(RECIPE)
    assert folder.parent == cache / "wheels"
    assert [path.name for path in folder.iterdir()] == ["numpy-2-cp311-cp311-manylinux_2_28_x86_64.whl"]
    assert fetch_wheels(RECIPE) == folder
    assert len(pip.commands) == 1


def test_pip_is_asked_for_the_images_platform_and_python(pip: Pip) -> None:
    fetch_wheels(RECIPE)
    command = pip.commands[0]
    assert {"--platform=manylinux_2_28_x86_64", "--platform=manylinux2014_x86_64", "--python-version=311"} <= set(
        command
    )
    assert {"--require-hashes", "--no-deps", "--only-binary=:all:"} <= set(command)
    assert not [item for item in command if "index" in item or "trusted-host" in item]


def test_arm64_asks_for_arm64(pip: Pip) -> None:
    fetch_wheels(recipe_for("builder", Profile(**{**SIM, "platform": "linux/arm64"})))
    platforms = [item for item in pip.commands[0] if item.startswith("--platform=")]
    assert platforms
    assert all(item.endswith("aarch64") for item in platforms)


def test_a_package_without_wheels_comes_as_its_source(pip: Pip) -> None:
    fetch_wheels(recipe_for("runtime", jetson("orin-nx-16gb-jp72")))
    command = pip.commands[0]
    assert command.index("--no-binary=pycuda") > command.index("--only-binary=:all:")
    assert {"--require-hashes", "--no-deps", "--python-version=312"} <= set(command)
    fetch_wheels(RECIPE)
    assert not [item for item in pip.commands[1] if item.startswith("--no-binary")]


def test_the_runtime_of_arm64_is_refused_with_the_reason(pip: Pip) -> None:
    with pytest.raises(BuildError, match=r"linux/arm64.*wheels for x86-64 only") as caught:
        fetch_wheels(recipe_for("runtime", Profile(**{**SIM, "platform": "linux/arm64"})))
    assert "Jetson profile" in caught.value.hint
    assert pip.commands == []


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        ("ERROR: No matching distribution found for numpy==2.4.6", "lacks this package"),
        ("SSL: CERTIFICATE_VERIFY_FAILED certificate verify failed", "global.cert"),
        ("ERROR: THESE PACKAGES DO NOT MATCH THE HASHES FROM THE REQUIREMENTS FILE", "other bytes"),
        ("OSError: [Errno 28] No space left on device", "XDG_CACHE_HOME"),
        ("NewConnectionError: Failed to establish a new connection", "reaches its index"),
    ],
)
def test_pips_words_are_kept_and_nothing_half_fetched(pip: Pip, cache: Path, words: str, hint: str) -> None:
    pip.stderr = words
    with pytest.raises(BuildError) as caught:
        fetch_wheels(RECIPE)
    assert words in caught.value.message
    assert hint in caught.value.hint
    assert list((cache / "wheels").iterdir()) == []
    pip.stderr = ""
    assert fetch_wheels(RECIPE).is_dir()


def test_an_interruption_leaves_nothing(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(wheels_module.subprocess, "run", interrupted)
    with pytest.raises(KeyboardInterrupt):
        fetch_wheels(RECIPE)
    assert list((cache / "wheels").iterdir()) == []


def test_an_environment_without_pip_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wheels_module.importlib.util, "find_spec", lambda _: None)
    with pytest.raises(BuildError, match="has no pip") as caught:
        fetch_wheels(RECIPE)
    assert "ensurepip" in caught.value.hint
