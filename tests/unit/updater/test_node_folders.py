"""Each container has a folder of its own, and an answer counts only when it comes out of the one that is asked."""

from __future__ import annotations

import contextlib
import os
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from runtime.contract.node.serving import NODES_DIR, health_socket, node_folder
from runtime.updater.robot.node_folders import (
    ask_agent,
    container_uid,
    in_container,
    make_node_folder,
    remove_node_folders,
)
from runtime.updater.state.world import ContainerFacts, WorldError

OURS, THEIRS = "c0ffee" + "0" * 58, "bad" + "0" * 61
#: What /proc/PID/cgroup says, by Engine and cgroup version.
GROUPS = {
    "v1, cgroupfs": "12:pids:/docker/{0}\n4:memory:/docker/{0}\n0::/\n",
    "v1, systemd": "4:memory:/system.slice/docker-{0}.scope\n1:name=systemd:/system.slice/docker-{0}.scope\n",
    "v2, cgroupfs": "0::/docker/{0}\n",
    "v2, systemd": "0::/system.slice/docker-{0}.scope\n",
    "v2, in a robot that is a container itself": "0::/docker/" + "d" * 64 + "/docker/{0}\n",
    "v2, a group of the container's own": "0::/system.slice/docker-{0}.scope/init\n",
}


def says(machine: Path, pid: int, text: str) -> None:
    (machine / "proc" / str(pid)).mkdir(parents=True, exist_ok=True)
    (machine / "proc" / str(pid) / "cgroup").write_text(text)


@pytest.mark.parametrize("layout", GROUPS)
def test_the_kernel_says_in_which_container_a_process_is(tmp_path: Path, layout: str) -> None:
    says(tmp_path, 7, GROUPS[layout].format(OURS))
    says(tmp_path, 8, GROUPS[layout].format(THEIRS))
    assert in_container(7, OURS, tmp_path / "proc")
    assert not in_container(8, OURS, tmp_path / "proc")


@pytest.mark.parametrize(
    "text", ["", "0::/\n", f"0::/docker/{OURS[:12]}\n", f"0::/docker/{OURS}0\n", f"0::/docker/x{OURS}\n", OURS, "::\n"]
)
def test_what_only_resembles_a_container_is_none(tmp_path: Path, text: str) -> None:
    says(tmp_path, 7, text)
    assert not in_container(7, OURS, tmp_path / "proc")


def test_a_process_that_is_gone_is_in_no_container_and_no_container_has_no_process(tmp_path: Path) -> None:
    assert not in_container(7, OURS, tmp_path / "proc")
    says(tmp_path, 7, "0::/docker/\n")
    assert not in_container(7, "", tmp_path / "proc")


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Path]:
    link = Path(f"/tmp/jf-{os.getpid()}-n")  # a socket's path has room for 107 bytes
    link.symlink_to(tmp_path)
    yield link
    link.unlink()


def container(folder: str, identity: str = OURS) -> ContainerFacts:
    return ContainerFacts(identity, "i", "image", "running", "", 0, 0, node_dir=folder)


def listens(path: Path) -> socket.socket:
    path.parent.mkdir(parents=True, exist_ok=True)
    server = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    server.bind(str(path))
    server.listen(4)
    return server


def test_only_the_container_that_is_asked_is_heard(machine: Path) -> None:
    folder = node_folder("b", "f00")
    with listens(machine / folder.lstrip("/") / health_socket("b")) as server:
        says(machine, os.getpid(), GROUPS["v2, systemd"].format(OURS))
        heard = ask_agent(container(folder), machine, "b", 5.0)
        assert heard is not None
        heard.close()
        server.accept()[0].close()
        with pytest.raises(WorldError) as error:
            ask_agent(container(folder, THEIRS), machine, "b", 5.0)
        assert f"is answered by process {os.getpid()}, which is not in the container bad000000000 that is asked" in str(
            error.value
        )
        with server.accept()[0] as asked:
            assert asked.recv(100) == b"", "it was asked nothing"


def test_a_link_to_another_socket_is_not_the_agent(machine: Path) -> None:
    """The container makes its socket a link to one of the host's: root would talk to that."""
    folder = node_folder("", "f00")
    place = machine / folder.lstrip("/") / health_socket("")
    place.parent.mkdir(parents=True)
    with listens(machine / "docker.sock"):
        place.symlink_to(machine / "docker.sock")
        says(machine, os.getpid(), "0::/system.slice/docker.service\n")
        with pytest.raises(WorldError, match="not in the container c0ffee000000 that is asked"):
            ask_agent(container(folder), machine, "", 5.0)


def test_where_nobody_listens_there_is_no_agent(machine: Path) -> None:
    folder = node_folder("", "f00")
    assert ask_agent(container(folder), machine, "", 5.0) is None
    listens(machine / folder.lstrip("/") / health_socket("")).close()
    assert ask_agent(container(folder), machine, "", 5.0) is None


def test_a_folder_is_its_container_s_user_s_alone(tmp_path: Path) -> None:
    said: list[str] = []
    folder = tmp_path / node_folder("", "f00").lstrip("/")
    make_node_folder(folder, said.append, 4321)
    assert said == []
    assert folder.stat().st_mode & 0o777 == 0o750
    assert folder.parent.stat().st_mode & 0o777 == 0o755
    if os.geteuid() == 0:
        assert (folder.stat().st_uid, folder.parent.stat().st_uid) == (4321, 0)
    (tmp_path / "file").write_text("")
    make_node_folder(tmp_path / "file" / "x" / "y", said.append)
    assert said == [f"cannot make {tmp_path}/file/x/y: Not a directory: nothing can hold the update lock"]


@pytest.mark.parametrize(
    ("text", "uid"),
    [
        ("", 1000),
        ("A=1\nJETFLEET_UID='1234'\nB=2\n", 1234),
        ("JETFLEET_UID=1234\n", 1234),
        ("XJETFLEET_UID='7'\n", 1000),
    ],
)
def test_the_user_is_what_dot_env_says(text: str, uid: int) -> None:
    assert container_uid(text) == uid


def test_folders_that_no_container_has_are_removed_whatever_was_put_there(tmp_path: Path) -> None:
    root, outside = tmp_path / NODES_DIR.lstrip("/"), tmp_path / "outside"
    outside.mkdir()
    (outside / "precious").write_text("kept")
    for name in ("a-kept", "b-gone"):
        (root / name / "swap" / "model").mkdir(parents=True)
        (root / name / "swap" / "model" / "engine").write_text("x")
    (root / "b-gone" / "link").symlink_to(outside)
    (root / "a-file").write_text("")
    said: list[str] = []
    remove_node_folders(tmp_path, ["/run/jetfleet/slots/a-kept", ""], said.append)
    assert (said, [path.name for path in root.iterdir()]) == ([], ["a-kept"])
    assert (root / "a-kept" / "swap" / "model" / "engine").exists()
    assert (outside / "precious").exists()
    remove_node_folders(tmp_path / "none", [], said.append)
    assert said == []


def test_one_that_cannot_be_removed_is_out_of_the_next_container_s_way_and_told(tmp_path: Path) -> None:
    root = tmp_path / NODES_DIR.lstrip("/")
    deep = root / "a-trap"
    for _ in range(70):
        deep = deep / "d"
    deep.mkdir(parents=True)
    said: list[str] = []
    remove_node_folders(tmp_path, [], said.append)
    assert said == [f"cannot remove an old container's folder in {root}: nested too deeply"]
    assert not (root / "a-trap").exists()


def test_a_folder_that_becomes_a_link_while_it_is_removed_leads_nowhere(tmp_path: Path) -> None:
    root, outside = tmp_path / NODES_DIR.lstrip("/"), tmp_path / "outside"
    outside.mkdir()
    (outside / "precious").write_text("kept")
    stop = threading.Event()
    place = root / "a-race"
    place.mkdir(parents=True)

    def swap() -> None:
        while not stop.is_set():
            with contextlib.suppress(OSError):
                (place / "x").mkdir()
                (place / "x").rmdir()
                (place / "x").symlink_to(outside)
                (place / "x").unlink()

    thread = threading.Thread(target=swap)
    thread.start()
    try:
        for _ in range(50):
            place.mkdir(parents=True, exist_ok=True)
            remove_node_folders(tmp_path, [], lambda said: None)
    finally:
        stop.set()
        thread.join(10.0)
    assert (outside / "precious").read_text() == "kept"
