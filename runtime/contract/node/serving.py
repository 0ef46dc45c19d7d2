"""Which of a robot's two containers serves: the updater's word in a file, and a lock of the kernel's.

A robot has two Compose projects, its *slots*. In a handover both hold a container for a while; the token names the one
that serves. The lock makes sure of it: an executor holds it for as long as its publishers exist, and it goes with the
process, so that one that hangs is waited for and one that is dead is not.
"""

from __future__ import annotations

from runtime.contract.node.runtime_config import NODE_DIR
from runtime.contract.robot.update import ROBOT_DIR

#: The two values of ``RunningRelease.slot``.
FIRST, SECOND = "", "b"
#: A container's slot, in its environment. Absent: the first.
ENV_SLOT = "JETFLEET_SLOT"

#: On the host, on its disk: after a reboot in the middle of a handover both containers come back, and one serves.
SERVE_DIR = ROBOT_DIR + "/serve"
#: The same folder inside the container, which only reads it. No token there: nobody hands over, whoever starts serves.
SERVE_DIR_INSIDE = "/run/jetfleet/serve"
#: Other folders than these and ``NODE_DIR`` (laptops and tests).
ENV_SERVE_DIR, ENV_NODE_DIR = "JETFLEET_SERVE_DIR", "JETFLEET_NODE_DIR"
TOKEN = "active"  # noqa: S105 - not a secret
#: ``flock`` on this file is held by the executor that serves.
SERVING_LOCK = "serving.lock"
#: Next to it: GIDs of the velocity publishers that its holders had. Whoever holds it next knows them to be gone.
SERVING_RECORD = "serving.gids"

#: Label of a runtime image whose executor obeys token and lock. Without it a robot switches by stopping and starting.
LABEL_HANDOVER = "io.jetfleet.handover"
#: Folders of the host that a container shares in a handover.
SHARED = (NODE_DIR, SERVE_DIR)


def slot_word(slot: str) -> str:
    """Return a slot as file names and the token have it: ``a`` or ``b``."""
    return slot or "a"


def health_socket(slot: str) -> str:
    """Return the name, below ``NODE_DIR``, of the socket on which the agent of ``slot`` answers HTTP.

    The TCP port belongs to the container that serves; this socket is each agent's own.
    """
    return "health-{}.sock".format(slot_word(slot))


def token_text(slot: str) -> str:
    """Return the token's content when the container of ``slot`` serves."""
    return slot_word(slot) + "\n"
