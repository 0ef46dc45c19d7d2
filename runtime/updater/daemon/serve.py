"""`fleet-updater serve`: the daemon. One a robot, safe to kill at any time."""

from __future__ import annotations

import fcntl
import os
import signal
import sys
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any, Callable, Dict, Optional, Tuple

from runtime.contract.codec import ContractError, from_dict, to_dict
from runtime.contract.json_decoder import WORDS, decode_object
from runtime.contract.node.attestation import Attestation
from runtime.contract.robot.power import PowerAnswer
from runtime.contract.robot.update import ROBOT_DIR, UpdateOrder
from runtime.contract.robot.verification import DEFAULT_SECONDS
from runtime.updater.daemon.host_check import check_at_start
from runtime.updater.daemon.pulling import Pulling
from runtime.updater.daemon.retention import pinned, unpinned
from runtime.updater.daemon.supervision import Supervision
from runtime.updater.daemon.updater import Updater
from runtime.updater.power.mode_keeper import CurrentRules, PowerKeeper
from runtime.updater.power.nvpmodel import Nvpmodel
from runtime.updater.power.power_service import PowerService, sayer
from runtime.updater.robot.json_socket import Server
from runtime.updater.robot.real_world import RealWorld
from runtime.updater.selfupdate.self_update_trial import keep_updater, refuse_on_trial
from runtime.updater.state.world import PROJECT
from runtime.updater.storage.durable import share
from runtime.updater.transaction.update_state import Rejected, unwritable

ROBOT_FILE = "robot.json"
DEFAULT_WAIT_S = 10.0
BELIEVED = ("take-root", "take-updater", "take-newest", "take-pull", "logs")
"""What `runtime.updater.daemon.believed` answers."""


def serve(root: Path, socket_path: Path, version: str, project: str = PROJECT, machine: Path = Path("/")) -> int:
    """Run until SIGTERM or SIGINT. ``root`` holds ``state/``, ``releases/`` and the links. Raises Rejected."""
    state = root / "state"
    state.mkdir(parents=True, exist_ok=True)
    share(state, 0o750, operators=True)
    lock = only_one(state)
    try:
        world, say = RealWorld(root, project, machine), sayer()
        updater = Updater(state, world, robot_name(root), version)
        updater.start()
        world.make_shared(updater.on_robot)
        believed = _believed(root, world, updater)
        pulling = Pulling(root, updater, machine, say, believed)
        keeper = PowerKeeper(Nvpmodel(machine), CurrentRules(world), say)
        power = PowerService(socket_path.parent, keeper, say)
        asked = {"poll": lambda: to_dict(pulling.look_now())}
        server = Server(
            socket_path, lambda request, peer: answer(updater, keeper, request, root, believed, peer.uid, asked)
        )
        driver = threading.Thread(target=_drive, args=(updater,), name="driver")
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, _leave)
        driver.start()
        power.start()
        stopped = threading.Event()
        look = (updater.host_problems, stopped)
        threading.Thread(target=check_at_start, args=look, name="host", daemon=True).start()
        supervision = Supervision(socket_path, say)
        supervision.start()
        pulling.start()
        try:
            server.serve()
        except SystemExit:
            stopped.set()
            supervision.stop()
            pulling.stop()
            power.stop()
            updater.stop()
            server.close()
            driver.join()
    finally:
        os.close(lock)
    return 0


def answer(
    updater: Updater,
    keeper: PowerKeeper,
    request: Dict[str, Any],
    root: Path = Path(ROBOT_DIR),
    believed: Optional[Callable[[], Any]] = None,
    uid: int = -1,
    asked: Optional[Dict[str, Callable[[], Any]]] = None,
) -> Any:
    """Do what a request asks for; return JSON values. Raises Rejected, WorldError, ContractError.

    ``uid``: of the account that asks; -1 where that is not known. ``asked``: verbs without anything to say with them.
    """
    verb = request.get("verb")
    if asked is not None and isinstance(verb, str) and verb in asked:
        return asked[verb]()
    if believed is not None and verb in BELIEVED:
        return believed().answer(request)
    if verb in ("pin", "unpin", "recover", "keep"):
        return to_dict(_by_hand(updater, request, root, believed))
    if verb in ("submit", "revert"):
        refuse_on_trial(root)
    if verb in ("status", "wait", "attest", "power", "verify"):
        return to_dict(_told(_look(updater, keeper, request), uid))
    if verb == "submit":
        return to_dict(updater.submit(from_dict(UpdateOrder, request.get("order"))))
    if verb == "confirm":
        return to_dict(updater.confirm(_text(request, "order_id")))
    if verb == "abort":
        return to_dict(updater.abort(_text(request, "order_id"), _text(request, "reason")))
    if verb == "revert":
        return to_dict(updater.revert(_text(request, "reason"), _text(request, "order_id"), _text(request, "override")))
    raise Rejected("usage", "the updater does not know {!r}".format(verb), "run `fleet bootstrap` to update it")


def _look(updater: Updater, keeper: PowerKeeper, request: Dict[str, Any]) -> Any:
    """Return what a question that changes nothing asks for."""
    verb = request["verb"]
    if verb == "attest":
        return updater.attest()
    if verb == "power":
        return keeper.status()
    if verb == "verify":
        return updater.verify(_number(request, "seconds", DEFAULT_SECONDS))
    if verb == "wait":
        return updater.wait(_text(request, "mark"), _number(request, "seconds", DEFAULT_WAIT_S))
    return updater.status()


def _believed(root: Path, world: RealWorld, updater: Updater) -> Callable[[], Any]:
    """Return what makes the one that answers BELIEVED: an idle updater may take little memory, so only when asked."""

    def make() -> Any:
        from runtime.updater.daemon.believed import Believed

        return Believed(root, world, updater, lambda: identity(root))

    return make


def _told(found: Any, uid: int) -> Any:
    """Add what the account that asks may do here."""
    if uid < 0 or isinstance(found, PowerAnswer):
        return found
    login = "root"
    if uid != 0:
        from runtime.updater.robot.login_rights import rights_of

        login = rights_of(uid)
    if isinstance(found, Attestation):
        return replace(found, state=replace(found.state, login=login))
    return replace(found, login=login)


def _by_hand(updater: Updater, request: Dict[str, Any], root: Path, believed: Optional[Callable[[], Any]]) -> Any:
    """Do what a person asks for who keeps this robot."""
    verb = request["verb"]
    if verb == "pin":
        return updater.amend(lambda journal: pinned(journal, _text(request, "release")))
    if verb == "unpin":
        return updater.amend(lambda journal: unpinned(journal, _text(request, "release")))
    if verb == "keep":
        keep_updater(root, _text(request, "version"), updater.version)
        if believed is not None:
            believed().keep_statement()
        return updater.status()
    try:
        return updater.recover()
    except OSError as error:
        raise unwritable(error, str(root / "state")) from error


def robot_name(root: Path) -> str:
    """Return the robot's name as `fleet bootstrap` wrote it; empty when it did not. Raises Rejected when damaged."""
    return identity(root)[0]


def identity(root: Path) -> Tuple[str, str]:
    """Return the robot's name and fleet, as :func:`robot_name` does."""
    path = root / "state" / ROBOT_FILE
    if not path.exists():
        return "", ""
    try:
        found = decode_object(path.read_bytes(), ROBOT_FILE, WORDS)
        return str(found["robot"]), str(found.get("fleet", ""))
    except (ContractError, KeyError) as error:
        raise Rejected("outside", "{} is damaged: {}".format(path, error), "run `fleet bootstrap` again") from error


def _drive(updater: Updater) -> None:
    try:
        updater.run()
    except BaseException:  # noqa: BLE001
        # A defect. The process ends with its driver, so that its supervisor starts it afresh and it recovers.
        sys.excepthook(*sys.exc_info())
        sys.stderr.flush()
        os.kill(os.getpid(), signal.SIGKILL)


def only_one(state: Path) -> int:
    """Return the lock that the one process holds which may write the journal. Raises Rejected, OSError."""
    descriptor = os.open(str(state / "daemon.lock"), os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(descriptor)
        raise Rejected("busy", "another updater runs on this robot already", "see `fleet-updater status`") from error
    os.ftruncate(descriptor, 0)
    os.write(descriptor, "{}\n".format(os.getpid()).encode("ascii"))
    return descriptor


def _leave(number: int, _frame: Any) -> None:
    sys.exit(128 + number)


def _text(request: Dict[str, Any], key: str) -> str:
    value = request.get(key, "")
    if not isinstance(value, str):
        raise Rejected("usage", "{} must be text".format(key))
    return value


def _number(request: Dict[str, Any], key: str, default: float) -> float:
    value = request.get(key, default)
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise Rejected("usage", "{} must be a number".format(key))
    return float(value)
