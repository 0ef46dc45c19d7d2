"""What a builder's container is created with, and what an Engine's refusal of it ends in."""

from __future__ import annotations

from typing import Any

import docker.errors
import pytest
from docker.types import HostConfig

from fleet.adapters.docker.docker_errors import translated
from fleet.adapters.docker.docker_job import JETSON_FILES, ContainerJob
from fleet.adapters.docker.job_facts import seconds
from fleet.adapters.docker.job_watch import _ANSWER_S, _ASK_S, LogFollower
from fleet.adapters.docker.ssh_tunnel import KEEPALIVE, _arguments
from fleet.errors import DockerError
from fleet.ports import JobLimits
from runtime.engines.device.device_facts import COMPATIBLE


class Api:
    """Stands where docker's client is: keeps what it is asked to create."""

    def __init__(self, refusal: str = "") -> None:
        self.asked: dict[str, Any] = {}
        self.refusal = refusal
        self.removed: list[str] = []

    def create_host_config(self, **options: Any) -> dict[str, Any]:
        self.asked = options
        return dict(HostConfig(version="1.41", **options))  # docker's own checks

    def info(self) -> dict[str, Any]:
        return {"MemTotal": 10 << 30}

    def create_container(self, image: str, command: list[str], **_: Any) -> dict[str, str]:
        if self.refusal:
            raise docker.errors.APIError("400", explanation=self.refusal)
        return {"Id": "abc"}

    def remove_container(self, container: str, **_: Any) -> None:
        self.removed.append(container)


def job(api: Api, *, jetson: bool) -> ContainerJob:
    return ContainerJob(api, "image", ["true"], {}, jetson=jetson)  # type: ignore[arg-type]


def test_an_ordinary_job_has_no_network_no_mounts_no_gpu_and_no_rights() -> None:
    api = Api()
    with job(api, jetson=False):
        pass
    asked = {name: value for name, value in api.asked.items() if name != "log_config"}
    assert asked == {
        "network_mode": "none",
        "mem_limit": 9 << 30,
        "pids_limit": 4096,
        "cap_drop": ["ALL"],
        "security_opt": ["no-new-privileges"],
    }
    assert api.asked["log_config"]["Config"] == {"max-size": "64m", "max-file": "2"}
    assert api.removed == ["abc"]


def test_a_profile_s_own_limits_hold() -> None:
    api = Api()
    with ContainerJob(api, "i", [], {}, limits=JobLimits(512 << 20, 99)):  # type: ignore[arg-type]
        pass
    assert (api.asked["mem_limit"], api.asked["pids_limit"]) == (512 << 20, 99)


def test_a_log_without_a_newline_is_handed_on_in_pieces_and_not_kept() -> None:
    lines: list[str] = []
    log = LogFollower()
    log._on_log = lines.append
    for _ in range(100):
        log._take(b"x" * 10_000)
    assert sum(map(len, lines)) > 900_000
    assert len(log._pending) <= 64 * 1024
    assert len(log.tail()) == 64 * 1024


def test_a_jetson_s_job_has_the_gpu_and_the_files_that_say_what_it_is() -> None:
    api = Api()
    with job(api, jetson=True):
        pass
    assert (api.asked["network_mode"], api.asked["runtime"], api.asked["group_add"]) == ("none", "nvidia", ["44"])
    mounts = {mount["Source"]: mount for mount in api.asked["mounts"]}
    assert set(mounts) == set(JETSON_FILES)
    assert all(mount["Type"] == "bind" and mount["ReadOnly"] for mount in mounts.values())
    assert mounts["/proc/device-tree/compatible"]["Target"] == f"/{COMPATIBLE[0]}"


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        ("unknown or invalid runtime name: nvidia", "nvidia-ctk runtime configure"),
        ("invalid mount config: bind source path does not exist: /proc/device-tree/compatible", "is not a Jetson"),
    ],
)
def test_a_machine_that_cannot_do_it_is_told_what_is_missing(words: str, hint: str) -> None:
    with (
        pytest.raises(DockerError, match=words.split(":", maxsplit=1)[0]) as caught,
        translated("ssh://jetson@b", "run the job"),
        job(Api(words), jetson=True),
    ):
        pass
    assert hint in caught.value.hint


def test_a_dead_link_is_noticed_within_half_a_minute() -> None:
    options = dict(option.split("=") for option in KEEPALIVE)
    assert _ASK_S + _ANSWER_S <= 30
    assert int(options["ServerAliveInterval"]) * (int(options["ServerAliveCountMax"]) + 1) <= 30


@pytest.mark.parametrize(
    ("endpoint", "where", "command"),
    [
        ("ssh://jetson@10.0.0.11", ["-l", "jetson", "--", "10.0.0.11"], "docker system dial-stdio"),
        ("ssh://orin-1", ["--", "orin-1"], "docker system dial-stdio"),
        ("ssh://Orin_A:2222", ["-p", "2222", "--", "Orin_A"], "docker system dial-stdio"),
        ("ssh://j@[fd00::b]:22", ["-l", "j", "-p", "22", "--", "fd00::b"], "docker system dial-stdio"),
        ("ssh://j@b/run/user/1/d.sock", ["-l", "j", "--", "b"],
         "docker --host unix:///run/user/1/d.sock system dial-stdio"),
    ],
)  # fmt: skip
def test_an_ssh_endpoint_is_what_docker_takes_it_for(endpoint: str, where: list[str], command: str) -> None:
    assert _arguments(endpoint)[-len(where) - 1 :] == [*where, command]


@pytest.mark.parametrize("endpoint", ["ssh://", "ssh://jetson@", "ssh://j:secret@b", "ssh://b:port"])
def test_an_ssh_endpoint_without_a_host_is_refused(endpoint: str) -> None:
    with pytest.raises(DockerError, match="names no host") as caught:
        _arguments(endpoint)
    assert "ssh://USER@HOST" in caught.value.hint


def test_an_engine_s_times_are_read_with_nanoseconds_and_zones() -> None:
    assert seconds("2026-11-29T11:12:52.123456789Z") == seconds("2026-11-29T12:12:52.5+01:00")
    assert seconds("0001-01-01T00:00:00Z") < 0
    assert seconds("never") == 0
