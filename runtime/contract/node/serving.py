"""Which of a robot's two containers serves: the updater's word in a file, and a lock of the kernel's.

A robot has two Compose projects, its *slots*. In a handover both hold a container for a while; the token names the one
that serves. The lock makes sure of it: an executor holds it for as long as its publishers exist, and it goes with the
process, so that one that hangs is waited for and one that is dead is not.

That is all they share, and both only read it. What a container writes lies in a folder of its slot and its release.
"""

from __future__ import annotations

from runtime.contract.robot.update import ROBOT_DIR

#: The two values of ``RunningRelease.slot``.
FIRST, SECOND = "", "b"
#: A container's slot, in its environment. Absent: the first.
ENV_SLOT = "JETFLEET_SLOT"

#: On the host, on its disk: after a reboot in the middle of a handover both containers come back, and one serves.
SERVE_DIR = ROBOT_DIR + "/serve"
#: The same folder inside the container, which only reads it. No token there: nobody hands over, whoever starts serves.
SERVE_DIR_INSIDE = "/run/jetfleet/serve"
#: On the host: one folder for each container, named after its slot and its release, is its ``NODE_DIR``. Memory.
NODES_DIR = "/run/jetfleet/slots"
#: Names that folder for Compose, in a release folder's ``.env``; only where the release's compose files ask for it.
ENV_HOST_NODE_DIR = "JETFLEET_HOST_NODE_DIR"
#: Other folders than these and ``NODE_DIR`` (laptops and tests).
ENV_SERVE_DIR, ENV_NODE_DIR = "JETFLEET_SERVE_DIR", "JETFLEET_NODE_DIR"
TOKEN = "active"  # noqa: S105 - not a secret
#: ``flock`` on this file, beside the token, is held by the executor that serves. Root's: a container opens it for
#: reading, which is enough to lock it and not to put another in its place.
SERVING_LOCK = "serving.lock"
#: In ``NODE_DIR``: GIDs of the velocity publishers that earlier executors of this container had.
SERVING_RECORD = "serving.gids"

#: Label of a runtime image whose executor obeys token and lock. Without it a robot switches by stopping and starting.
#: ``1`` are images whose lock lies in a folder that both containers may write to: they run alone too.
LABEL_HANDOVER, HANDOVER = "io.jetfleet.handover", "2"


def slot_word(slot: str) -> str:
    """Return a slot as file names and the token have it: ``a`` or ``b``."""
    return slot or "a"


def node_folder(slot: str, release: str) -> str:
    """Return the host's folder that is ``NODE_DIR`` in the container of a slot. ``release``: its release folder's name.

    Old and new container never have the same one, also where the new one takes the old one's slot.
    """
    return "{}/{}-{}".format(NODES_DIR, slot_word(slot), release)


def health_socket(slot: str) -> str:
    """Return the name, below ``NODE_DIR``, of the socket on which the agent of ``slot`` answers HTTP.

    The TCP port belongs to the container that serves; this socket is each agent's own.
    """
    return "health-{}.sock".format(slot_word(slot))


def token_text(slot: str) -> str:
    """Return the token's content when the container of ``slot`` serves."""
    return slot_word(slot) + "\n"
