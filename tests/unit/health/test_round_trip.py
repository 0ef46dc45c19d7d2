"""What the report makes of the round trip and of a small /dev/shm, and that a rollout does not take it amiss."""

from __future__ import annotations

from dataclasses import replace

import pytest

from runtime.contract.codec import canonical_json, from_json
from runtime.contract.node.health import DEGRADED, OK, Space, SystemHealth
from runtime.contract.node.runtime_config import RuntimeConfig
from runtime.health.checks.judge import Judge
from runtime.health.process.round_trip import FAILED, PASSED, SKIPPED, RoundTrip
from runtime.health.process.status import ExecutorStatus
from runtime.health.process.supervisor import Snapshot
from tests.unit.health.conftest import model_health, snapshot

MIB = 1 << 20
LOST = RoundTrip(FAILED, 10, 3, 8, "1280x720 rgb8", 2764800, 4.0)
SAID = (
    "3 of 10 frames of 1280x720 rgb8 (2.6 MiB) came back to the node in 4.0 s, at least 8 must: give the node the "
    "image's Fast DDS profile (FASTDDS_DEFAULT_PROFILES_FILE), and a /dev/shm with room for it (ipc: host, or "
    "shm_size); again every 30 s"
)


def after(trip: RoundTrip | None) -> Snapshot:
    process = snapshot(model_health())
    assert process.status is not None
    return replace(process, status=replace(process.status, transport=trip))


def test_lost_images_warn_and_take_the_robot_out_of_service_but_not_out_of_a_rollout(config: RuntimeConfig) -> None:
    verdict = Judge(config).judge(after(LOST), SystemHealth(), 0.0)
    check = next(check for check in verdict.checks if check.name == "transport")
    assert (check.level, check.message) == ("warn", SAID)
    assert verdict.waiting_for == (f"transport: {SAID}",)
    assert verdict.ready
    assert verdict.state == DEGRADED  # commits; only unhealthy reverts


@pytest.mark.parametrize(
    ("trip", "said"),
    [
        (replace(LOST, state=PASSED, arrived=9, seconds=0.04),
         "9 of 10 frames of 1280x720 rgb8 (2.6 MiB) came back to the node in 0.0 s"),
        (RoundTrip(SKIPPED, reason="no model takes raw images"), "not tested: no model takes raw images"),
    ],
)  # fmt: skip
def test_a_passed_or_skipped_trip_is_told_and_costs_nothing(config: RuntimeConfig, trip: RoundTrip, said: str) -> None:
    verdict = Judge(config).judge(after(trip), SystemHealth(), 0.0)
    assert [(check.level, check.message) for check in verdict.checks if check.name == "transport"] == [("ok", said)]
    assert (verdict.state, verdict.waiting_for) == (OK, ())


def test_a_trip_that_could_not_be_made_says_why(config: RuntimeConfig) -> None:
    verdict = Judge(config).judge(after(RoundTrip(FAILED, reason="RuntimeError: x")), SystemHealth(), 0.0)
    assert verdict.waiting_for == ("transport: the test could not run: RuntimeError: x; again every 30 s",)


def test_inputs_that_come_by_udp_warn_beside_what_the_trip_found(config: RuntimeConfig) -> None:
    model = replace(model_health(), by_udp=("/camera/image_raw from /camera",))
    process = snapshot(model)
    assert process.status is not None
    passed = replace(LOST, state=PASSED, arrived=10, seconds=0.04)
    process = replace(process, status=replace(process.status, transport=passed))
    verdict = Judge(config).judge(process, SystemHealth(), 0.0)
    [check] = [check for check in verdict.checks if check.name == "transport"]
    assert check.level == "warn"
    assert check.message.startswith("/camera/image_raw from /camera comes by UDP, where most large messages are lost: ")
    assert check.message.endswith("; 10 of 10 frames of 1280x720 rgb8 (2.6 MiB) came back to the node in 0.0 s")
    assert (verdict.state, verdict.ready, verdict.waiting_for) == (DEGRADED, True, ())


def test_before_the_trip_nothing_is_said(config: RuntimeConfig) -> None:
    verdict = Judge(config).judge(after(None), SystemHealth(), 0.0)
    assert not [check for check in verdict.checks if check.name in ("transport", "shared_memory")]


def test_shared_memory_without_room_for_two_segments_is_a_warning(config: RuntimeConfig) -> None:
    small, large = (SystemHealth(disks={"/dev/shm": Space(size * MIB, size * MIB)}) for size in (31, 32))
    found = next(check for check in Judge(config).judge(after(None), small, 0.0).checks if check.level != "ok")
    assert found.name == "shared_memory"
    assert found.message.startswith("/dev/shm has 31 MiB, a camera and this node need 32 MiB: images may be lost")
    assert Judge(config).judge(after(None), large, 0.0).state == OK


def test_the_result_reaches_the_agent_and_an_older_executor_says_nothing() -> None:
    status = ExecutorStatus(1, "serving", "active", 0.0, transport=LOST)
    assert from_json(ExecutorStatus, canonical_json(status)) == status
    older = canonical_json(replace(status, transport=None)).replace(b',"transport":null', b"")
    assert b"transport" not in older
    assert from_json(ExecutorStatus, older).transport is None
