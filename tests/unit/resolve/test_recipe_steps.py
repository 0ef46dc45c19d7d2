"""The steps of rendered Dockerfiles that decide something, run by a real shell: each says yes and each says no."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from fleet.resolve.images.recipe import recipe_for
from tests.unit.resolve.test_recipe_l4t import jetson

LIB = "/usr/lib/aarch64-linux-gnu"
NVIDIA, ROS = "3C6D1FF3100C8C3ABB0869C0E6543461A9996195", "C1CF6E31E6BADE8868B172B4F42ED6FBAB17C654"


def steps(kind: str, name: str) -> list[str]:
    """Return the RUN steps as the shell gets them: comments out, continued lines joined."""
    text = recipe_for(kind, jetson(name)).files["Dockerfile"].decode()
    lines = "\n".join(line for line in text.splitlines() if not line.startswith("#"))
    return [step.removeprefix("RUN ") for step in lines.replace("\\\n", "").splitlines() if step.startswith("RUN ")]


def step(kind: str, name: str, part: str) -> str:
    (found,) = {text for text in steps(kind, name) if part in text}
    return found


def shell(command: str, folder: Path, **stubs: str) -> subprocess.CompletedProcess[str]:
    """Run a step in ``folder``, with commands of the image replaced by what ``stubs`` print."""
    bin_ = folder / "bin"
    bin_.mkdir(exist_ok=True)
    for name, script in stubs.items():
        path = bin_ / name.replace("_", "-")
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)
    return subprocess.run(
        ["sh", "-c", command], cwd=folder, capture_output=True, text=True, check=False, timeout=30,
        env={"PATH": f"{bin_}:/usr/bin:/bin"},
    )  # fmt: skip


@pytest.mark.parametrize("kind", ["builder", "runtime"])
@pytest.mark.parametrize(
    ("name", "found", "fits"),
    [
        ("orin-nano-8gb-jp60", "8.6.2.3-1+cuda12.2", True),
        ("orin-nano-8gb-jp60", "8.6.2.30-1+cuda12.2", False),
        ("orin-nano-8gb-jp62", "10.3.0.30-1+cuda12.5", True),
        ("orin-nano-8gb-jp62", "10.3.0.26-1+cuda12.5", False),
        ("orin-nano-8gb-jp72", "10.16.2.10-1+cuda13.2", True),
        ("orin-nano-8gb-jp72", "11.2.1.2-1+cuda13.2", False),
    ],
)
def test_the_installed_tensorrt_is_compared(kind: str, name: str, found: str, fits: bool, tmp_path: Path) -> None:
    done = shell(step(kind, name, "dpkg-query"), tmp_path, dpkg_query=f"printf '%s' '{found}'")
    assert (done.returncode == 0) is fits
    assert fits or found in done.stderr


@pytest.mark.parametrize("there", [True, False])
def test_a_base_image_with_the_builder_is_no_runtime_s_and_one_without_no_builder_s(
    there: bool, tmp_path: Path
) -> None:
    if there:
        (tmp_path / "libnvinfer_builder_resource.so.10.3.0").touch()
    runtime = step("runtime", "orin-nano-8gb-jp62", "test -z").replace(LIB, str(tmp_path))
    builder = step("builder", "orin-nano-8gb-jp62", "test -n").replace(LIB, str(tmp_path))
    assert (shell(runtime, tmp_path).returncode, shell(builder, tmp_path).returncode) == ((1, 0) if there else (0, 1))


@pytest.mark.parametrize(
    ("kind", "kept"),
    [("runtime", set()), ("builder", {"builder_resource_sm86.so.10.16.2", "builder_resource_ptx.so.10.16.2"})],
)
def test_what_is_left_of_the_builder(kind: str, kept: set[str], tmp_path: Path) -> None:
    for name in ("so.10.16.2", "builder_resource_sm86.so.10.16.2", "builder_resource_ptx.so.10.16.2",
                 "builder_resource_sm90.so.10.16.2", "builder_resource_win_sm86.so.10.16.2"):  # fmt: skip
        (tmp_path / f"libnvinfer_{name}").touch()
    command = step(kind, "orin-nano-8gb-jp72", '"libnvinfer10=').replace(LIB, str(tmp_path))
    command = command.replace("rm -rf /var/lib/apt/lists/*", "true")
    done = shell(command, tmp_path, apt_get="exit 0")
    assert done.returncode == 0, done.stderr
    left = {path.name.removeprefix("libnvinfer_") for path in tmp_path.glob("libnvinfer_*")}
    assert left == kept | {"so.10.16.2"}


def colons(*primaries: str) -> str:
    """Return what `gpg --show-keys --with-colons` prints of these keys, each with a subkey."""
    lines = []
    for primary in primaries:
        lines += [
            "pub:-:4096:1:AA:1:::-:::scESC::::::23::0:",
            f"fpr:::::::::{primary}:",
            "uid:-::::1::BB::X::::::::::0:",
        ]
        lines += ["sub:-:4096:1:CC:1::::::s::::::23:", f"fpr:::::::::{'D' * 40}:"]
    return "\n".join(lines)


@pytest.mark.parametrize(
    ("jetson_keys", "ros_keys", "trusted"),
    [
        ((NVIDIA,), (ROS,), True),
        (("F" * 40,), (ROS,), False),
        ((NVIDIA,), ("F" * 40,), False),
        ((NVIDIA, "F" * 40), (ROS,), False),
        ((NVIDIA,), (), False),
    ],
)
def test_a_key_is_trusted_by_its_fingerprint_alone(
    jetson_keys: tuple[str, ...], ros_keys: tuple[str, ...], trusted: bool, tmp_path: Path
) -> None:
    command = step("runtime", "orin-nano-8gb-jp72", "--show-keys")
    command = re.sub(r"/(keys|keyrings)/", lambda found: f"{tmp_path}/{found[1]}/", command)
    for folder in ("keys", "keyrings"):
        (tmp_path / folder).mkdir()
    (tmp_path / "keys" / "jetson.asc").write_text(colons(*jetson_keys))
    (tmp_path / "keys" / "ros.asc").write_text(colons(*ros_keys))
    gpg = 'case "$*" in *--show-keys*) for last; do :; done; cat "$last";; *) touch "$4";; esac'
    done = shell(command, tmp_path, gpg=gpg)
    assert (done.returncode == 0) is trusted, done.stderr
    names = {path.name for path in (tmp_path / "keyrings").iterdir()}
    assert names == ({"jetson.gpg", "ros.gpg"} if trusted else set())


def test_every_step_is_a_shell_s(tmp_path: Path) -> None:
    for name in ("orin-nx-8gb-jp60", "orin-nx-8gb-jp62", "orin-nx-8gb-jp72"):
        for kind in ("builder", "runtime"):
            for command in steps(kind, name):
                done = subprocess.run(
                    ["sh", "-n", "-c", command], capture_output=True, text=True, check=False, timeout=30
                )
                assert done.returncode == 0, (command, done.stderr)
