"""What test processes have for themselves: real processes side by side never get the same number, port or turn."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.harness import share

ROOT = Path(__file__).parents[3]
OTHER = "from tests.harness import share; print(share.number(), share.free_port(), flush=True); input()"
HOLDER = "from tests.harness import share\nwith share.turn('tests-of-turns'): print('mine', flush=True); input()"


def started(program: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", program], cwd=ROOT, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )


def line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def ended(process: subprocess.Popen[str]) -> None:
    process.kill()
    process.communicate(timeout=60)


def test_processes_have_numbers_and_ports_of_their_own_until_they_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))  # for them: no other run takes what they give up
    others = [started(OTHER) for _ in range(4)]
    try:
        numbers, ports = zip(*(map(int, line(other).split()) for other in others), strict=True)
        assert len(set(numbers)) == len(set(ports)) == 4
        monkeypatch.setattr(share, "FOLDER", tmp_path / share.FOLDER.name)
        monkeypatch.setattr(share, "_held", [])
        assert all(share.in_use(number) for number in numbers)
    finally:
        for other in others:
            ended(other)
    assert not any(share.in_use(number) for number in numbers)


def test_domains_and_ports_are_clear_of_those_of_outgoing_connections() -> None:
    lowest = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    assert 7400 + 250 * (max(share.NUMBERS) + 1) < 32768
    assert share.FIRST_PORT + share.PORTS_EACH * len(share.NUMBERS) <= 32768
    assert lowest >= 32768 or pytest.fail(f"this machine gives ports from {lowest} on to outgoing connections")


def test_a_turn_is_waited_for_and_a_dead_holder_holds_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    holder = started(HOLDER)
    try:
        assert line(holder) == "mine"
        monkeypatch.setattr(share, "WAIT_S", 0.2)
        with pytest.raises(TimeoutError, match=r"tests-of-turns\.turn"), share.turn("tests-of-turns"):
            pass
    finally:
        ended(holder)
    monkeypatch.setattr(share, "WAIT_S", 60.0)
    with share.turn("tests-of-turns"):
        pass
