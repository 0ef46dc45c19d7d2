"""Undo one robot's committed update, because the rollout failed elsewhere."""

from __future__ import annotations

import dataclasses
import threading

from fleet.errors import FleetError, RobotError
from fleet.link.robot import OnState, RobotClient, insist
from fleet.ports import Clock
from fleet.rollout.gate import Outcome
from fleet.rollout.limits import Limits
from fleet.rollout.result import RobotResult
from runtime.contract.robot.update import DEFERRED, FAILED, REFUSED, UpdateOrder, UpdateState


def take_back(
    client: RobotClient,
    order: UpdateOrder,
    before: RobotResult,
    *,
    reason: str,
    clock: Clock,
    limits: Limits,
    on_state: OnState,
    abandon: threading.Event,
) -> RobotResult:
    """Send back a robot that had committed, and return its new result. ``reason``: what the robot is told."""
    started = clock.monotonic()
    problem = undo_update(
        client,
        order,
        before.order_id,
        reason=reason,
        clock=clock,
        limits=limits,
        on_state=on_state,
        abandon=abandon,
    )
    return dataclasses.replace(
        before,
        outcome=Outcome.FAILED if problem else Outcome.ROLLED_BACK,
        reason=f"could not be rolled back: {problem}" if problem else f"went back because {reason.partition(':')[0]}",
        seconds=before.seconds + clock.monotonic() - started,
        order_id=before.order_id if problem else "",
    )


def undo_update(
    client: RobotClient,
    order: UpdateOrder,
    order_id: str,
    *,
    reason: str,
    clock: Clock,
    limits: Limits,
    on_state: OnState,
    abandon: threading.Event,
) -> str:
    """Send a robot back that committed ``order`` (under ``order_id``). Return "" or why it is not where it was.

    A robot that does not answer is asked again for as long as going back may take. ``abandon``: wait no longer; a
    robot that was told already goes back by itself. Raises nothing of FleetError.
    """
    told = False
    deadline = clock.monotonic() + limits.revert_s(order)

    def check() -> None:
        if abandon.is_set():
            raise RobotError(client.name, "left during its revert" if told else "never reached, so not rolled back")

    def back(state: UpdateState) -> bool:
        return state.state == "idle" and (state.current is None or state.current.release_digest != order.release_digest)

    def ended(state: UpdateState) -> bool:
        return back(state) or (state.state == "idle" and state.outcome in (FAILED, REFUSED, DEFERRED))

    def tell() -> UpdateState:
        check()
        return client.revert(order_id, reason)

    try:
        insist(tell, clock, lambda: deadline, lambda _why, _until: None)
        told = True
        deadline = clock.monotonic() + limits.revert_s(order)
        state = client.wait_for(ended, what="the revert", deadline=deadline, on_state=on_state, check=check)
    except RobotError as error:
        return error.words
    except FleetError as error:
        return error.message
    finally:
        client.close()
    return "" if back(state) else state.reason or f"ended as {state.outcome}"
