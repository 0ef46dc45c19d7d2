"""One suite for every `fleet.ports.ContainerHost`: the fake that unit tests use, and a real Docker Engine."""

from __future__ import annotations

import contextlib
import io
import os
import tarfile
import threading
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import docker
import docker.errors
import pytest
import requests

from fleet.adapters.docker.docker_errors import translated
from fleet.adapters.docker.docker_host import DockerHost
from fleet.errors import BuildError, DockerError, JobExists, JobGone
from fleet.ports import ContainerHost, JobResult
from tests.fakes.container_host import FakeContainerHost, press_ctrl_c, wait_until
from tests.harness import share

BASE = os.environ.get("JETFLEET_LAB_BASE_IMAGE", "jetfleet-lab/debian:bookworm")
TAG = f"jetfleet-build-contract:suite-{share.number()}"
LABEL = {"io.jetfleet.test": uuid.uuid4().hex}

COPY = (
    "import pathlib, sys\n"
    "job, out = map(pathlib.Path, sys.argv[1:])\n"
    "print('first line', flush=True)\n"
    "print('to stderr', file=sys.stderr, flush=True)\n"
    "(out / 'upper.txt').write_text((job / 'data/in.txt').read_text().upper())\n"
    "print('no newline at the end', end='')\n"
)


def tar_of(files: dict[str, bytes]) -> BinaryIO:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))
    buffer.seek(0)
    return buffer


DOCKERFILE = f"FROM {BASE}\nRUN mkdir -p /job\n".encode()


@pytest.fixture(params=["fake", pytest.param("docker", marks=pytest.mark.docker)])
def host(request: pytest.FixtureRequest) -> Iterator[ContainerHost]:
    if request.param == "fake":
        yield FakeContainerHost()
        return
    real = DockerHost("local")
    if real.image_id(BASE) is None:
        pytest.fail(f"the lab's base image {BASE} is missing: make lab-up")
    yield real
    real.remove_containers(LABEL)
    with contextlib.closing(docker.from_env()) as client, contextlib.suppress(docker.errors.ImageNotFound):
        client.images.remove(TAG)


@pytest.fixture
def image(host: ContainerHost) -> str:
    host.build_image(tar_of({"Dockerfile": DOCKERFILE}), TAG, labels={"io.jetfleet.recipe": "sha256:suite"})
    return TAG


def run(
    host: ContainerHost, image: str, script: str, to: Path, *, deadline_s: float = 60.0, **more: object
) -> JobResult:
    return host.run_job(
        image, ["python3", "-c", script, "/job", "/out"], inputs=tar_of({"data/in.txt": b"hello"}),
        input_dir="/job", output_dir="/out", output_to=to / "out.tar", labels={**LABEL, "n": "1"},
        deadline_s=deadline_s, **more,  # type: ignore[arg-type]
    )  # fmt: skip


def left_behind(host: ContainerHost) -> int:
    return host.remove_containers(LABEL)


def test_says_what_it_is(host: ContainerHost) -> None:
    info = host.info()
    assert info.platform in ("linux/amd64", "linux/arm64")
    assert info.engine_version
    assert info.cpus >= 1
    assert info.memory_bytes > 1 << 28


def test_builds_an_image_and_tells_its_labels(host: ContainerHost) -> None:
    lines: list[str] = []
    built = host.build_image(
        tar_of({"Dockerfile": DOCKERFILE}), TAG, labels={"io.jetfleet.recipe": "sha256:suite"}, on_log=lines.append
    )
    assert host.image_id(TAG) == built
    labels = host.image_labels(TAG)
    assert labels is not None
    assert labels["io.jetfleet.recipe"] == "sha256:suite"
    assert any(line.startswith("Step 1/") for line in lines)


def test_an_image_that_is_not_there_is_none(host: ContainerHost) -> None:
    assert host.image_id("jetfleet-build-contract:never") is None
    assert host.image_labels("jetfleet-build-contract:never") is None


def test_a_context_without_dockerfile_is_refused(host: ContainerHost) -> None:
    with pytest.raises(DockerError, match="jetfleet-build-contract:none") as caught:
        host.build_image(tar_of({"README": b""}), "jetfleet-build-contract:none", labels={})
    assert caught.value.hint


def test_exports_an_image_as_a_tar(host: ContainerHost, image: str, tmp_path: Path) -> None:
    with (tmp_path / "image.tar").open("wb") as file:
        for chunk in host.export_image(image):
            file.write(chunk)
    with tarfile.open(tmp_path / "image.tar", "r:") as tar:
        tar.getnames()


def test_an_image_travels_from_one_engine_to_another(host: ContainerHost, image: str) -> None:
    there = host.image_id(image)
    host.load_image(host.export_image(image))
    assert host.image_id(image) == there


def test_exporting_what_is_not_there_is_an_error(host: ContainerHost) -> None:
    with pytest.raises(DockerError, match="never"):
        list(host.export_image("jetfleet-build-contract:never"))


def test_a_job_gets_its_inputs_and_gives_its_outputs(host: ContainerHost, image: str, tmp_path: Path) -> None:
    lines: list[str] = []
    result = run(host, image, COPY, tmp_path, on_log=lines.append)
    assert result.exit_code == 0
    assert not result.oom_killed
    assert result.output == tmp_path / "out.tar"
    with tarfile.open(result.output, "r:") as tar:
        assert "out/upper.txt" in tar.getnames()
        member = tar.extractfile("out/upper.txt")
        assert member is not None
        assert member.read() == b"HELLO"
    assert sorted(lines) == ["first line", "no newline at the end", "to stderr"]
    assert all(line in result.log_tail for line in lines)
    assert left_behind(host) == 0


def test_a_failing_job_keeps_its_code_log_and_outputs(host: ContainerHost, image: str, tmp_path: Path) -> None:
    script = "import sys; open(sys.argv[2] + '/failure.json', 'w').write('{}'); sys.exit('went wrong')"
    result = run(host, image, script, tmp_path)
    assert result.exit_code == 1
    assert "went wrong" in result.log_tail
    assert result.output is not None
    assert left_behind(host) == 0


def test_only_the_end_of_a_long_log_is_kept(host: ContainerHost, image: str, tmp_path: Path) -> None:
    result = run(host, image, "[print('x' * 99) for _ in range(3000)]; print('the end')", tmp_path)
    assert result.log_tail.endswith("the end\n")
    assert 60_000 < len(result.log_tail) <= 65_536


def test_an_image_that_is_missing_is_said(host: ContainerHost, tmp_path: Path) -> None:
    with pytest.raises(DockerError, match="jetfleet-build-contract:never") as caught:
        run(host, "jetfleet-build-contract:never", COPY, tmp_path)
    assert "build" in caught.value.hint
    assert left_behind(host) == 0


def test_a_job_past_its_deadline_is_removed(host: ContainerHost, image: str, tmp_path: Path) -> None:
    with pytest.raises(DockerError, match="did not finish within 2 s"):
        run(host, image, "import time; print('waiting', flush=True); time.sleep(300)", tmp_path, deadline_s=2.0)
    assert left_behind(host) == 0


def test_an_interrupted_job_is_removed(host: ContainerHost, image: str, tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        run(
            host, image, "import time; print('started', flush=True); time.sleep(300)", tmp_path,
            on_log=lambda _: press_ctrl_c(),
        )  # fmt: skip
    assert left_behind(host) == 0


def test_removing_by_label_ends_a_running_job(host: ContainerHost, image: str, tmp_path: Path) -> None:
    started, errors = threading.Event(), []

    def work() -> None:
        try:
            result = run(
                host, image, "import time; print('started', flush=True); time.sleep(300)", tmp_path,
                on_log=lambda _: started.set(),
            )  # fmt: skip
            errors.append(result.exit_code)
        except DockerError as error:
            errors.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    wait_until(started.is_set, "the job's first line")
    assert host.remove_containers({**LABEL, "n": "2"}) == 0
    assert host.remove_containers({**LABEL, "n": "1"}) == 1
    thread.join(30)
    assert not thread.is_alive()
    assert len(errors) == 1
    assert errors != [0]


def test_a_job_with_a_name_stays_and_can_be_gone_on_with(host: ContainerHost, image: str, tmp_path: Path) -> None:
    name = f"jetfleet-build-suite-{share.number()}"
    first = run(host, image, COPY, tmp_path, name=name)
    facts = next(one for one in host.jobs(LABEL) if one.name == name)
    assert (facts.state, facts.exit_code, facts.image_id) == ("ended", 0, host.image_id(image))
    assert facts.labels.items() >= LABEL.items()
    assert facts.command[0] == "python3"
    assert 0 <= facts.since_s < 600
    with pytest.raises(JobExists):
        run(host, image, COPY, tmp_path, name=name)
    lines: list[str] = []
    again = host.follow_job(
        name, output_dir="/out", output_to=tmp_path / "again.tar", deadline_s=60, on_log=lines.append
    )
    assert (again.exit_code, again.log_tail) == (first.exit_code, first.log_tail)
    assert "first line" in lines
    assert again.output == tmp_path / "again.tar"
    host.remove_job(name)
    host.remove_job(name)
    assert host.jobs(LABEL) == []
    with pytest.raises(JobGone):
        host.follow_job(name, output_dir="/out", output_to=tmp_path / "gone.tar", deadline_s=60)


def test_who_gives_up_waiting_leaves_another_s_job_alone(host: ContainerHost, image: str, tmp_path: Path) -> None:
    name = f"jetfleet-build-patient-{share.number()}"
    started, stop, ended = threading.Event(), threading.Event(), threading.Event()

    def other() -> None:
        with contextlib.suppress(DockerError):
            run(host, image, "import time; print('started', flush=True); time.sleep(300)", tmp_path, name=name,
                on_log=lambda _: started.set(), give_up=stop.is_set)  # fmt: skip
        ended.set()

    thread = threading.Thread(target=other)
    thread.start()
    wait_until(started.is_set, "the job's first line", deadline_s=60)
    with pytest.raises(DockerError, match="not waited for any more"):
        host.follow_job(
            name, output_dir="/out", output_to=tmp_path / "o.tar", deadline_s=60, give_up=lambda: True
        )  # fmt: skip
    assert [one.state for one in host.jobs(LABEL)] == ["running"]
    stop.set()
    wait_until(ended.is_set, "the end of who started it", deadline_s=60)
    thread.join()
    assert host.jobs(LABEL) == []


@pytest.mark.docker
def test_a_failing_build_step_is_quoted(tmp_path: Path) -> None:
    dockerfile = f"FROM {BASE}\nRUN echo one\nRUN echo what went wrong; exit 7\n".encode()
    with pytest.raises(BuildError) as caught:
        DockerHost("local").build_image(tar_of({"Dockerfile": dockerfile}), "jetfleet-build-contract:fails", labels={})
    assert "what went wrong" in caught.value.message
    assert "Step 3/" in caught.value.message
    assert "echo one" not in caught.value.message
    assert caught.value.exit_code == 3


@pytest.mark.parametrize("host", [pytest.param("docker", marks=pytest.mark.docker)], indirect=True)
def test_a_job_has_no_network(image: str, host: ContainerHost, tmp_path: Path) -> None:
    script = (
        "import socket, sys\n"
        "try: socket.create_connection(('172.17.0.1', 22), 3); word = 'connected'\n"
        "except OSError as error: word = str(error)\n"
        "open(sys.argv[2] + '/word', 'w').write(word)"
    )
    result = run(host, image, script, tmp_path)
    assert result.output is not None
    with tarfile.open(result.output) as tar:
        member = tar.extractfile("out/word")
        assert member is not None
        assert "unreachable" in member.read().decode()


@pytest.mark.parametrize(
    ("endpoint", "word"),
    [
        ("unix:///nowhere/docker.sock", "does not answer"),
        ("tcp://127.0.0.1:1", "does not answer"),
    ],
)
def test_an_engine_that_is_not_there_is_said(endpoint: str, word: str) -> None:
    with pytest.raises(DockerError, match=word) as caught:
        DockerHost(endpoint).info()
    assert endpoint in caught.value.message
    assert "docker info" in caught.value.hint


def test_a_socket_that_refuses_the_user_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise requests.exceptions.ConnectionError("Connection aborted.", PermissionError(13, "Permission denied"))

    monkeypatch.setattr("docker.APIClient._retrieve_server_version", refuse)
    with pytest.raises(DockerError, match="refuses this user") as caught:
        DockerHost("unix:///var/run/docker.sock").info()
    assert "usermod -aG docker" in caught.value.hint


def test_a_full_disk_is_said() -> None:
    error = docker.errors.APIError("500", explanation="write /layer.tar: no space left on device")
    with pytest.raises(DockerError, match="no space left") as caught, translated("ssh://jetson@orin", "build image x"):
        raise error
    assert "docker system df" in caught.value.hint
    assert caught.value.__cause__ is error


def test_ssh_trouble_names_the_command_to_try() -> None:
    with pytest.raises(DockerError, match="ssh://jetson@orin") as caught, translated("ssh://jetson@orin", "pull x"):
        raise docker.errors.DockerException("Error while fetching server API version: broken pipe")
    assert "ssh jetson@orin docker version" in caught.value.hint
