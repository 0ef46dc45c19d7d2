"""What the docker SDK raises, said so that a person can act on it."""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import docker.errors
import requests.exceptions

from fleet.errors import DockerError

_START = "start it (sudo systemctl start docker) or point DOCKER_HOST at one; `docker info` must answer"
_SSH = "check that `ssh {host} docker version` works without a prompt: key in the agent, host key known, Docker there"
_SSH_WORDS = (
    ("permission denied while trying to connect", "that user may not use Docker there: sudo usermod -aG docker USER"),
    ("cannot connect to the docker daemon", "start Docker there: sudo systemctl start docker"),
    ("docker: command not found", "install Docker there, or correct the PATH of a login without a terminal"),
    ("docker: not found", "install Docker there, or correct the PATH of a login without a terminal"),
    ("permission denied (", "that builder accepts none of your keys: ssh-copy-id, or ssh-add the key that it knows"),
    ("host key verification failed", "log in by hand once and check the host key: `ssh {host} docker version`"),
    ("not responding", "the link to that machine is down, or the machine is: try `ssh {host} docker version`"),
)
"""What ssh and the docker command there say, and what to do about it."""
_OURS = (errno.ENOSPC, errno.EACCES, errno.EROFS, errno.EDQUOT)
_ALLOW = "allow this user to use Docker: sudo usermod -aG docker $USER, then log in again"
_NVIDIA = (
    "give that Engine NVIDIA's runtime: sudo nvidia-ctk runtime configure --runtime=docker (of the package "
    "nvidia-container-toolkit), then restart Docker"
)
_SPACE = "make room on that machine: `docker system df` shows what takes it, `docker image prune` frees it"


def is_timeout(error: BaseException) -> bool:
    """Say whether the SDK gave up waiting (over a Unix socket it comes as a plain ConnectionError)."""
    return any(isinstance(cause, requests.exceptions.Timeout) or "timed out" in str(cause) for cause in _chain(error))


def is_no_space(text: str) -> bool:
    """Say whether an Engine's message means a full disk."""
    return "no space left on device" in text.lower()


def is_lost(error: BaseException) -> bool:
    """Say whether the Engine could not be asked: it, its machine or the link is down. What it refuses is no such case.

    The SDK raises the same kinds for a file of this machine that cannot be written, which have a number of their own.
    """
    if isinstance(error, docker.errors.APIError):
        return False
    return isinstance(
        error, docker.errors.DockerException | requests.exceptions.RequestException | OSError
    ) and not any(
        isinstance(cause, OSError) and cause.errno in (errno.ENOSPC, errno.EACCES, errno.EROFS, errno.ENOENT)
        for cause in _chain(error)
    )


@contextmanager
def translated(endpoint: str, doing: str, said: Callable[[], str] = str) -> Iterator[None]:
    """Turn everything that the SDK raises inside into DockerError; ``doing`` completes "Docker at X could not …".

    ``said`` is asked for what ssh said, where the Engine is behind one.
    """
    try:
        yield
    except docker.errors.APIError as error:
        raise _from_api(endpoint, doing, error) from error
    except (docker.errors.DockerException, requests.exceptions.RequestException, OSError) as error:
        raise _from_connection(endpoint, doing, error, said()) from error


def no_space(endpoint: str, doing: str) -> DockerError:
    """Return the error for a full disk."""
    return DockerError(f"Docker at {endpoint} could not {doing}: no space left on its disk", hint=_SPACE)


def _from_api(endpoint: str, doing: str, error: docker.errors.APIError) -> DockerError:
    text = str(error.explanation or error)
    if is_no_space(text):
        return no_space(endpoint, doing)
    hint = "the Engine's own message is above; its log (journalctl -u docker) may say more"
    if error.status_code == 404 and "image" in text.lower():
        hint = "build or pull the image first; `docker images` on that machine shows what it has"
    elif "runtime" in text.lower() and "nvidia" in text.lower():
        hint = _NVIDIA
    elif "device-tree" in text or "nvpmodel" in text:
        hint = "that machine is not a Jetson: set builder.endpoint of the profile to one with the profile's module"
    elif "unauthorized" in text.lower() or "denied" in text.lower():
        hint = "log in to that registry: docker login HOST"
    elif "toomanyrequests" in text.lower():
        hint = "the registry limits anonymous pulls: docker login, or wait"
    return DockerError(f"Docker at {endpoint} could not {doing}: {text}", hint=hint)


def _from_connection(endpoint: str, doing: str, error: BaseException, said: str) -> DockerError:
    causes = list(_chain(error))
    ssh = endpoint.startswith("ssh://")
    if said and is_lost(error):
        host = endpoint.removeprefix("ssh://")
        hint = next((hint for words, hint in _SSH_WORDS if words in said.lower()), _SSH).format(host=host)
        return DockerError(f"Docker at {endpoint} does not answer: {said}", hint=hint)
    if any(isinstance(cause, PermissionError) for cause in causes) and not ssh:
        return DockerError(f"Docker at {endpoint} refuses this user: permission denied on its socket", hint=_ALLOW)
    if is_timeout(error):
        return DockerError(
            f"Docker at {endpoint} did not answer in time when asked to {doing}",
            hint="the machine may be overloaded or the link down: try `docker -H … ps`, then run the command again",
        )
    words = next((str(cause) for cause in reversed(causes) if str(cause)), type(error).__name__)
    if any(isinstance(cause, OSError) and cause.errno == 28 for cause in causes):
        return DockerError(
            f"this machine's disk is full: cannot {doing}: {words}", hint="make room, then run the command again"
        )
    hint = _SSH.format(host=endpoint.removeprefix("ssh://")) if ssh else _START
    return DockerError(f"Docker at {endpoint} does not answer: {words}", hint=hint)


def _chain(error: BaseException, depth: int = 8) -> Iterator[BaseException]:
    """Walk causes and nested arguments: urllib3 keeps the operating system's error in ``args`` of its own."""
    yield error
    if depth == 0:
        return
    inner = [error.__cause__ or error.__context__, *(arg for arg in error.args if isinstance(arg, BaseException))]
    for cause in inner:
        if cause is not None and cause is not error:
            yield from _chain(cause, depth - 1)
