"""Images of a few hundred bytes that really run, made without a base image, and a registry to pull them from."""

from __future__ import annotations

import io
import json
import platform
import struct
import tarfile
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import docker

from tests.harness import share

LABEL = "jetfleet-updater-test"
"""On containers, with the number of the process that made them."""
_SALT = uuid.uuid4().bytes
"""In every layer: what this process fetches, no other one has brought to the Engine already."""
_X86_WAITS = bytes.fromhex("b8220000000f05ebf7")  # again: pause(); jump again
_X86_ENDS = bytes.fromhex("bf01000000b83c0000000f05")  # exit(1)
_ARM_WAITS = bytes.fromhex("000080d2010080d2020080d2030080d2280980d2010000d4fbffff17")  # ppoll forever
_ARM_ENDS = bytes.fromhex("200080d2a80b80d2010000d4")


def program(ends: bool = False) -> bytes:
    """Return a Linux program that waits for ever, or that ends with exit code 1."""
    arm = platform.machine() == "aarch64"
    code = (_ARM_ENDS if ends else _ARM_WAITS) if arm else (_X86_ENDS if ends else _X86_WAITS)
    start, size = 0x400000, 0x78 + len(code)
    header = b"\x7fELF\x02\x01\x01" + b"\0" * 9
    header += struct.pack("<HHIQQQIHHHHHH", 2, 0xB7 if arm else 0x3E, 1, start + 0x78, 64, 0, 0, 64, 56, 1, 64, 0, 0)
    return header + struct.pack("<IIQQQQQQ", 1, 5, 0, start, start, size, size, 0x1000) + code


def context(ends: bool, extra: bytes) -> io.BytesIO:
    """Return a build context: a layer with the program, which images share, and one of their own."""
    dockerfile = b'FROM scratch\nCOPY run /run\nCOPY extra /extra\nCMD ["/run"]\n'
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        for name, content, mode in (
            ("Dockerfile", dockerfile, 0o644),
            ("run", program(ends) + _SALT, 0o755),
            ("extra", extra + _SALT, 0o644),
        ):
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = len(content), mode
            archive.addfile(entry, io.BytesIO(content))
    packed.seek(0)
    return packed


@contextmanager
def registry(client: Any) -> Iterator[str]:
    """Run the lab's registry image, built where it is missing; yield its address, plain HTTP for every Engine."""
    from fleetbox.images import ensure_registry_image

    _remove_what_killed_runs_left(client)
    container = client.containers.run(
        ensure_registry_image(client, print),
        detach=True,
        ports={"5000/tcp": ("127.0.0.1", None)},
        labels={LABEL: str(share.number())},
        name=f"{LABEL}-registry-{share.number()}",
    )
    try:
        container.reload()
        address = "127.0.0.1:" + container.ports["5000/tcp"][0]["HostPort"]
        _wait(f"http://{address}/v2/")
        yield address
    finally:
        container.remove(force=True, v=True)


def _remove_what_killed_runs_left(client: Any) -> None:
    for left in client.containers.list(all=True, filters={"label": LABEL}, ignore_removed=True):
        number = int(left.labels[LABEL])
        if number == share.number() or not share.in_use(number):
            with suppress(docker.errors.NotFound):  # another run removed it meanwhile
                left.remove(force=True, v=True)


def references(client: Any) -> list[str]:
    """Return the digest references of all images that the Engine has, in one request: others may go meanwhile."""
    return [reference for image in client.api.images() for reference in image["RepoDigests"] or ()]


def publish(client: Any, repository: str, tag: str, *, ends: bool = False) -> dict[str, Any]:
    """Build and push an image, and forget it locally; return its reference, id, layers and the sizes of its blobs."""
    name = f"{repository}:{tag}"
    image, _ = client.images.build(fileobj=context(ends, tag.encode() * 1000), custom_context=True, tag=name, rm=True)
    for line in client.api.push(name, stream=True, decode=True):
        assert "error" not in line, line
    image.reload()
    found = {
        "reference": next(ref for ref in image.attrs["RepoDigests"] if ref.startswith(repository)),
        "id": image.id,
        "layers": tuple(image.attrs["RootFS"]["Layers"]),
        "blobs": tuple(layer["digest"] for layer in _manifest(repository, tag)["layers"]),
    }
    found["sizes"] = tuple(layer["size"] for layer in _manifest(repository, tag)["layers"])
    found["config_size"] = _manifest(repository, tag)["config"]["size"]
    client.images.remove(name, force=True)
    return found


def _manifest(repository: str, tag: str) -> dict[str, Any]:
    address, _, name = repository.partition("/")
    accept = {"Accept": "application/vnd.docker.distribution.manifest.v2+json"}
    request = urllib.request.Request(f"http://{address}/v2/{name}/manifests/{tag}", headers=accept)
    with urllib.request.urlopen(request, timeout=10.0) as answer:
        found: dict[str, Any] = json.load(answer)
        return found


def _wait(url: str) -> None:
    deadline = time.monotonic() + 60.0
    while not _answers(url):
        if time.monotonic() > deadline:
            raise AssertionError(f"{url} does not answer within 60 s")
        time.sleep(0.1)


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=2.0):
            return True
    except (urllib.error.URLError, OSError):
        return False
