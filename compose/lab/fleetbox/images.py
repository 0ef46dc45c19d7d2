"""The lab's two images, built once per content: the tag is a digest over the build context and the base image."""

from __future__ import annotations

import hashlib
import io
import os
import subprocess
import sys
import tarfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from docker import DockerClient
from docker.errors import APIError, ImageNotFound

from fleetbox.spec import BASE_IMAGE, ROOT, LabError, LabSpec

Say = Callable[[str], None]

ROBOT_PYTHON = "3.11"
NEWEST_GLIBC_MINOR = 36
"""Debian bookworm's glibc: wheels for anything up to manylinux_2_36 run on a robot."""
SOURCE_ONLY = ("empy",)
"""Pure Python that the index has no wheel of; made into one here, for any Python."""
PROXY_VARIABLES = ("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "no_proxy")


@dataclass(frozen=True)
class Context:
    """A build context: archive name → file."""

    image: str
    files: dict[str, Path]

    def digest(self, base_id: str) -> str:
        """Return 12 hex digits over names and bytes of all files, and the base image."""
        total = hashlib.sha256(base_id.encode())
        for name, path in sorted(self.files.items()):
            with path.open("rb") as file:
                total.update(f"{name}\0{_hex_digest(file)}\n".encode())
        return total.hexdigest()[:12]

    def tar(self) -> io.BytesIO:
        """Return the context as Docker takes it."""
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w") as archive:
            for name, path in sorted(self.files.items()):
                archive.add(path, name)
        buffer.seek(0)
        return buffer


def _hex_digest(file: BinaryIO) -> str:
    content = hashlib.sha256()
    while chunk := file.read(1 << 20):
        content.update(chunk)
    return content.hexdigest()


def ensure_registry_image(client: DockerClient, say: Say) -> str:
    """Return the registry image's tag; build it when this content was never built."""
    return _ensure(client, Context("jetfleet-lab/registry", _folder("registry")), say)


def ensure_robot_image(client: DockerClient, spec: LabSpec, say: Say) -> str:
    """Return the robot image's tag; fetch the camera's wheels and build it when this content was never built."""
    files = _folder("robot")
    compose = spec.home / "bin" / "docker-compose"
    if not compose.is_file():
        raise LabError(f"{compose} is missing", "run `make setup`")
    files["docker-compose"] = compose
    for wheel in _camera_wheels(spec, files["camera.requirements.txt"], say):
        files[f"wheels/{wheel.name}"] = wheel
    return _ensure(client, Context("jetfleet-lab/robot", files), say)


def ensure_systemd_image(client: DockerClient, robot_image: str, say: Say) -> str:
    """Return the tag of the robot image with systemd as its first process; build it when it was never built."""
    return _ensure(client, Context("jetfleet-lab/systemd", _folder("systemd")), say, base=robot_image)


def _folder(name: str) -> dict[str, Path]:
    folder = ROOT / "images" / "lab" / name
    return {path.name: path for path in sorted(folder.iterdir()) if path.is_file()}


def _camera_wheels(spec: LabSpec, requirements: Path, say: Say) -> list[Path]:
    """Download the camera's wheels for the robot's Python; a folder per requirements file, complete or absent."""
    digest = hashlib.sha256(requirements.read_bytes()).hexdigest()[:12]
    folder = spec.home / "wheels" / f"camera-{digest}"
    if not folder.is_dir():
        say("fetching the camera's wheels (rclpy, messages, Pillow)")
        partial = folder.with_suffix(".part")
        partial.mkdir(parents=True, exist_ok=True)
        _pip("wheel", "--no-deps", "--wheel-dir", str(partial), *SOURCE_ONLY)
        platforms = [f"--platform=manylinux_2_{minor}_x86_64" for minor in range(NEWEST_GLIBC_MINOR, 4, -1)]
        target = [f"--python-version={ROBOT_PYTHON}", "--implementation=cp", *platforms]
        folders = ["--find-links", str(partial), "--dest", str(partial)]
        _pip("download", "--only-binary=:all:", *target, *folders, "-r", str(requirements))
        partial.rename(folder)
    return sorted(folder.glob("*.whl"))


def _pip(*arguments: str) -> None:
    command = [sys.executable, "-m", "pip", arguments[0], "--quiet", "--disable-pip-version-check", *arguments[1:]]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
    if done.returncode != 0:
        raise LabError(
            f"pip could not fetch the camera's wheels: {_last_line(done.stderr)}",
            "is the package index reachable? Behind a proxy set PIP_CERT and HTTPS_PROXY",
        )


def _ensure(client: DockerClient, context: Context, say: Say, base: str = BASE_IMAGE) -> str:
    try:
        base_id = client.images.get(base).id
    except ImageNotFound as error:
        raise LabError(f"base image {base} is missing", "run `make setup`") from error
    tag = f"{context.image}:{context.digest(str(base_id))}"
    try:
        client.images.get(tag)
    except ImageNotFound:
        say(f"building {tag}")
        _build(client, context, tag, base)
    return tag


def _build(client: DockerClient, context: Context, tag: str, base: str) -> None:
    """Run the classic builder; LabError carries the end of its output."""
    proxies = {name: os.environ[name] for name in PROXY_VARIABLES if name in os.environ}
    lines: list[str] = []
    try:
        for event in client.api.build(
            fileobj=context.tar(),
            custom_context=True,
            tag=tag,
            buildargs={"BASE": base, **proxies},
            network_mode="host",  # a container's DNS is often not the host's
            rm=True,
            forcerm=True,
            decode=True,
        ):
            lines += _texts(event)
            if "error" in event:
                raise LabError(f"docker build of {tag} failed: {event['error']}", "\n".join(lines[-15:]))
    except APIError as error:
        raise LabError(f"docker build of {tag} failed: {error.explanation}") from error


def _texts(event: dict[str, str]) -> Iterator[str]:
    for line in event.get("stream", "").splitlines():
        if line.strip():
            yield line


def _last_line(text: str) -> str:
    lines = [line for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else "no output"
