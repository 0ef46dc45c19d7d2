"""What the docker client says, read: a terminal's worth of progress, and errors with what to do."""

from __future__ import annotations

import pytest

from runtime.updater.robot.docker_cli import PullReader, failure

#: As Engine 20.10 draws it on a terminal: lines drawn over each other by cursor movements, cut anywhere.
PROGRESS = (
    "registry/x@sha256:1: Pulling from x\r\n\r\n"
    "\x1b[1A\x1b[2K\r46d371e02073: Pulling fs layer \r\x1b[1B"
    "\x1b[1A\x1b[2K\r0123456789ab: Already exists \r\x1b[1B"
    "\x1b[1A\x1b[2K\r46d371e02073: Downloading [==>      ]  538.6kB/55MB\r\x1b[1B"
    "\x1b[1A\x1b[2K\r46d371e02073: Verifying Checksum \r\x1b[1B"
    "\x1b[1A\x1b[2K\r46d371e02073: Download complete \r\x1b[1B"
    "\x1b[1A\x1b[2K\r46d371e02073: Extracting [==>    ]  5MB/55MB\r\x1b[1B"
    "\x1b[1A\x1b[2K\r46d371e02073: Pull complete \r\x1b[1B"
    "Digest: sha256:1\r\nStatus: Downloaded newer image for x\r\n"
)


@pytest.mark.parametrize("size", [1, 7, 64, 10_000])
def test_layers_are_read_however_the_text_is_cut(size: int) -> None:
    seen: list[tuple[str, str]] = []
    reader = PullReader(lambda layer, state: seen.append((layer, state)))
    for start in range(0, len(PROGRESS), size):
        reader.feed(PROGRESS[start : start + size])
    assert seen == [
        ("46d371e02073", "downloading"),
        ("0123456789ab", "exists"),
        ("46d371e02073", "downloaded"),
    ]
    assert reader.other[-1].startswith("Status: Downloaded")


@pytest.mark.parametrize(
    ("said", "transient", "hint"),
    [
        ("write /var/lib/docker/tmp/x: no space left on device", False, "free space"),
        ("Error response from daemon: manifest for x not found: manifest unknown: manifest unknown", False, "publish"),
        ("Error response from daemon: Get https://r/v2/: unauthorized: authentication required", False, "docker login"),
        ("http: server gave HTTP response to HTTPS client", False, "insecure-registries"),
        ("x509: certificate signed by unknown authority", False, "registry.ca_file"),
        ("Error response from daemon: unknown or invalid runtime name: nvidia", False, "NVIDIA container runtime"),
        ("dial tcp 10.0.0.1:5000: connect: no route to host", True, "log"),
        ("Error response from daemon: pull access denied for x", False, "docker login"),
        ("exec: python3: executable file not found in $PATH: unknown", True, "log"),
        ("", True, "log"),
    ],
)
def test_errors_say_whether_to_try_again_and_what_to_do(said: str, transient: bool, hint: str) -> None:
    error = failure("docker pull", said, transient=True)
    assert error.transient is transient
    assert hint in error.hint
    assert not error.engine_down
    assert error.message.startswith("docker pull: ")


def test_engine_that_is_away_is_told_apart() -> None:
    error = failure("docker ps", "Cannot connect to the Docker daemon at unix:///var/run/docker.sock. Is it running?")
    assert error.engine_down
    assert error.transient
    assert "systemctl start docker" in error.hint
