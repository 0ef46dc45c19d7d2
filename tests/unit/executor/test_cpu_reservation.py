"""CPUs and memory that a manifest reserves: what is applied, and what is refused with a note."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from runtime.contract.codec import canonical_json
from runtime.contract.node.resources import ENV_RESOURCES, ResourcePolicy
from runtime.engines.errors import EngineError
from runtime.executor.robot.cpu_reservation import CpuReservation
from runtime.executor.serving.loading import load_engine
from runtime.executor.serving.memory import Memory, with_room
from tests.fakes.nodes.runtime_folder import write_runtime


def reserve(policy: ResourcePolicy) -> CpuReservation:
    return CpuReservation.from_environment({ENV_RESOURCES: canonical_json(policy).decode()})


def in_a_thread(run: object) -> set[int]:
    """Where a new thread may run after it did ``run``."""
    found: list[set[int]] = []
    thread = threading.Thread(target=lambda: (run(), found.append(os.sched_getaffinity(0))))  # type: ignore[operator]
    thread.start()
    thread.join()
    return found[0]


def test_threads_are_pinned_one_by_one() -> None:
    here = os.sched_getaffinity(0)
    cpu = max(here)
    kept = reserve(ResourcePolicy(worker_cpus=(cpu,)))
    assert in_a_thread(kept.pin_worker) == {cpu}
    assert in_a_thread(kept.pin_spin_once) == here
    assert os.sched_getaffinity(0) == here
    assert kept.notes == ()


def test_a_cpu_that_is_not_there_pins_nothing_and_is_told() -> None:
    here = os.sched_getaffinity(0)
    kept = reserve(ResourcePolicy(worker_cpus=(min(here), 1000), spin_cpus=(1001,)))
    assert in_a_thread(kept.pin_worker) == here
    assert in_a_thread(kept.pin_spin_once) == here
    assert [note.split(" is not among")[0] for note in kept.notes] == [
        "the worker is not pinned: CPU 1000", "the spin thread is not pinned: CPU 1001",
    ]  # fmt: skip


def test_a_policy_that_cannot_be_read_reserves_nothing_and_is_told() -> None:
    kept = CpuReservation.from_environment({ENV_RESOURCES: "{"})
    assert kept.notes[0].startswith("JETFLEET_RESOURCES is not used: ResourcePolicy: not JSON")
    assert CpuReservation.from_environment({}).notes == ()


def test_an_engine_that_would_not_leave_what_is_to_stay_free_is_refused(tmp_path: Path) -> None:
    model = write_runtime(tmp_path).models[0]
    kept = reserve(ResourcePolicy(keep_free_bytes=512 << 20))
    assert kept.memory.keep_free == 512 << 20
    short = with_room(Memory(lambda: 100 << 20, kept.memory.keep_free), load_engine)
    with pytest.raises(
        EngineError, match="signs fp32 needs about 512 MiB in addition to what is loaded, 100 MiB are free"
    ):
        short(model, tmp_path / "engines")
    with_room(Memory(lambda: 600 << 20, kept.memory.keep_free), load_engine)(model, tmp_path / "engines").runner.close()
