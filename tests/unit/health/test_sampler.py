"""Reading the machine apart from everything else: what hangs or breaks there costs numbers, never an answer."""

from __future__ import annotations

import threading
import time

from runtime.contract.node.health import SystemHealth
from runtime.health.sources.sampler import Sampler

DEADLINE_S = 30.0


def test_the_age_of_a_sample_grows_until_the_next() -> None:
    now = [100.0]
    sampler = Sampler(lambda: SystemHealth(load_1m=1.5), log=print, clock=lambda: now[0])
    now[0] = 103.0
    assert sampler.newest() == SystemHealth(sample_age_s=3.0)
    sampler.read_once()
    now[0] = 110.5
    assert sampler.newest() == SystemHealth(load_1m=1.5, sample_age_s=7.5)


def test_a_defect_in_reading_is_told_once_and_survived() -> None:
    lines: list[str] = []
    answers = [ValueError("odd file"), ValueError("odd file"), None, ValueError("odd file")]

    def read() -> SystemHealth:
        answer = answers.pop(0)
        if answer is not None:
            raise answer
        return SystemHealth(load_1m=2.0)

    sampler = Sampler(read, log=lines.append)
    for _ in range(4):
        sampler.read_once()
    assert lines == ["cannot read the machine's sensors: ValueError: odd file"] * 2
    assert sampler.newest().load_1m == 2.0


def test_a_sensor_that_hangs_keeps_nobody_waiting() -> None:
    entered, leave = threading.Event(), threading.Event()

    def read() -> SystemHealth:
        entered.set()
        leave.wait(DEADLINE_S)
        return SystemHealth(load_1m=1.0)

    sampler = Sampler(read, log=print)
    sampler.start()
    assert entered.wait(DEADLINE_S)
    assert sampler.newest().load_1m is None  # answers at once, while the read hangs
    sampler.stop()
    leave.set()
    end = time.monotonic() + DEADLINE_S
    while sampler.newest().load_1m is None:
        assert time.monotonic() < end
        time.sleep(0.01)
