"""A builder over ``ssh://``: a real sshd of this machine before its real Engine, with links that die."""

from __future__ import annotations

import contextlib
import signal
import threading
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import docker
import docker.errors
import pytest

from fleet.adapters.docker import job_watch
from fleet.adapters.docker.docker_host import DockerHost
from fleet.errors import BuilderLost, DockerError
from tests.contract.hosts.local_sshd import LocalSshd
from tests.contract.hosts.test_container_host import BASE, DOCKERFILE, tar_of
from tests.fakes.container_host import wait_until
from tests.harness import share

pytestmark = [pytest.mark.docker]
NAME = f"jetfleet-build-over-ssh-{share.number()}"
LABEL = {"io.jetfleet.test": uuid.uuid4().hex}
TAG = f"jetfleet-build-contract:ssh-{share.number()}"
LONG = (
    "import pathlib, sys, time\n"
    "job, out = map(pathlib.Path, sys.argv[1:])\n"
    "print('building', flush=True)\n"
    "time.sleep(15)\n"
    "(out / 'upper.txt').write_text((job / 'in.txt').read_text().upper())\n"
)


@pytest.fixture
def sshd(tmp_path: Path) -> Iterator[LocalSshd]:
    server = LocalSshd(tmp_path)
    server.start()
    yield server
    server.stop()


def command(sshd: LocalSshd) -> list[str]:
    options = ("IdentitiesOnly=yes", "StrictHostKeyChecking=accept-new", f"UserKnownHostsFile={sshd.folder}/known")
    return ["ssh", "-F", "none", "-i", str(sshd.identity), *(f"-o{option}" for option in options)]


def builder(sshd: LocalSshd) -> DockerHost:
    return DockerHost(f"ssh://{sshd.user}@127.0.0.1:{sshd.port}", command(sshd))


@pytest.fixture
def host(sshd: LocalSshd) -> Iterator[DockerHost]:
    local = DockerHost()
    if local.image_id(BASE) is None:
        pytest.fail(f"the lab's base image {BASE} is missing: make lab-up")
    yield builder(sshd)
    local.remove_containers(LABEL)
    with contextlib.closing(docker.from_env()) as client, contextlib.suppress(docker.errors.ImageNotFound):
        client.images.remove(TAG)


def test_a_build_goes_on_when_its_link_dies_and_the_next_run_has_its_result(
    sshd: LocalSshd, host: DockerHost, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(job_watch, "_ANSWER_S", 3.0)
    host.build_image(tar_of({"Dockerfile": DOCKERFILE}), TAG, labels={})
    said: list[str] = []
    errors: list[DockerError] = []

    def work() -> None:
        try:
            host.run_job(
                TAG, ["python3", "-c", LONG, "/job", "/out"], inputs=tar_of({"in.txt": b"hello"}), input_dir="/job",
                output_dir="/out", output_to=tmp_path / "o.tar", labels=LABEL, deadline_s=600, on_log=said.append,
                name=NAME,
            )  # fmt: skip
        except DockerError as error:
            errors.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    wait_until(lambda: said == ["building"], "the builder's first line", deadline_s=120)
    sshd.signal_connections(signal.SIGSTOP)
    cut = time.monotonic()
    thread.join(120)
    assert not thread.is_alive()
    print(f"noticed {time.monotonic() - cut:.1f} s after the cut: {errors}")
    assert isinstance(errors[0], BuilderLost)
    sshd.signal_connections(signal.SIGCONT)

    another = builder(sshd)  # another machine's run, on new connections
    (facts,) = another.jobs(LABEL)
    assert facts.name == NAME
    result = another.follow_job(NAME, output_dir="/out", output_to=tmp_path / "o.tar", deadline_s=120)
    assert result.exit_code == 0
    assert result.output is not None
    another.remove_job(NAME)
    assert DockerHost().jobs(LABEL) == []


def test_what_ssh_says_is_the_reason(sshd: LocalSshd, tmp_path: Path) -> None:
    (sshd.folder / "authorized_keys").write_text("")
    with pytest.raises(DockerError, match="Permission denied") as caught:
        builder(sshd).info()
    assert "ssh-copy-id" in caught.value.hint
    nobody = DockerHost(f"ssh://{sshd.user}@127.0.0.1:{share.free_port()}", command(sshd))
    with pytest.raises(DockerError, match="Connection refused"):
        nobody.info()


def test_few_connections_are_kept_and_they_end(sshd: LocalSshd, host: DockerHost) -> None:
    for number in range(6):
        assert host.image_id(f"jetfleet-build-contract:never-{number}") is None
    tunnel = host._connection._tunnel
    assert tunnel is not None
    wait_until(lambda: len(tunnel._running) == 1, "the end of connections that are not kept", deadline_s=60)
    tunnel.close()
    wait_until(lambda: not tunnel._running, "the end of ssh")
