"""A lifecycle manager as nav2's: brings a node up by its services, asks what it became, and takes it down again.

Prints one JSON object a line, after each line of standard input. Not a test module.
"""

from __future__ import annotations

import json
import sys
from typing import Any

import rclpy
from lifecycle_msgs.msg import State, Transition
from lifecycle_msgs.srv import ChangeState, GetState

NODE = "/jetfleet"
DEADLINE_S = 60.0
STEPS = {
    "startup": (
        (Transition.TRANSITION_CONFIGURE, State.PRIMARY_STATE_INACTIVE),
        (Transition.TRANSITION_ACTIVATE, State.PRIMARY_STATE_ACTIVE),
    ),
    "pause": ((Transition.TRANSITION_DEACTIVATE, State.PRIMARY_STATE_INACTIVE),),
    "resume": ((Transition.TRANSITION_ACTIVATE, State.PRIMARY_STATE_ACTIVE),),
    "shutdown": (
        (Transition.TRANSITION_DEACTIVATE, State.PRIMARY_STATE_INACTIVE),
        (Transition.TRANSITION_CLEANUP, State.PRIMARY_STATE_UNCONFIGURED),
        (Transition.TRANSITION_UNCONFIGURED_SHUTDOWN, State.PRIMARY_STATE_FINALIZED),
    ),
}
"""The orders of ManageLifecycleNodes, and the transitions and states that each is (nav2_lifecycle_manager)."""


class Manager:
    """Calls the services of one node."""

    def __init__(self, node: Any) -> None:
        self._node = node
        self._change = node.create_client(ChangeState, f"{NODE}/change_state")
        self._ask = node.create_client(GetState, f"{NODE}/get_state")
        for client in (self._change, self._ask):
            assert client.wait_for_service(DEADLINE_S)

    def obey(self, order: str) -> str:
        """Return ``done``, or what went wrong, as nav2's manager judges it."""
        for transition, expected in STEPS[order]:
            request = ChangeState.Request(transition=Transition(id=transition))
            if not self._call(self._change, request).success:
                return f"transition {transition} was refused"
            found = self._call(self._ask, GetState.Request()).current_state
            if found.id != expected:
                return f"after transition {transition} the state is {found.label}"
        return "done"

    def _call(self, client: Any, request: Any) -> Any:
        future = client.call_async(request)
        rclpy.spin_until_future_complete(self._node, future, timeout_sec=DEADLINE_S)
        assert future.done(), "no answer"
        return future.result()


def main() -> None:
    rclpy.init()
    node = rclpy.create_node("lifecycle_manager")
    try:
        manager = Manager(node)
        for order in iter(sys.stdin.readline, ""):
            print(json.dumps(manager.obey(order.strip())), flush=True)
    finally:
        node.destroy_node()
        rclpy.try_shutdown()


if __name__ == "__main__":
    main()
