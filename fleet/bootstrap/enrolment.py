"""The bundle that makes a machine a robot without SSH: one file for an image, a USB stick or cloud-init. Pure."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from fleet.bootstrap.prepare_robot import IDENTITY_PATH, TRIAL_S, WRAPPER
from fleet.bootstrap.pull_setup import PullSetup
from fleet.bootstrap.registry_access import CERTS_DIR, LOGIN_DIR, RegistryAccess
from fleet.bootstrap.systemd_unit import UNIT, UNIT_PATH
from fleet.bootstrap.updater_package import launcher_text
from runtime.contract.codec import canonical_json, to_dict
from runtime.contract.robot.pull_settings import HOST_KEYS
from runtime.contract.robot.trust import Signed
from runtime.contract.robot.update import COMMAND_PATH, ROBOT_DIR, SOCKET_PATH, UPDATER_PATH

#: Programs that a robot needs before it can be one.
NEEDS = ("docker", "ssh-keygen")
_HEAD = """#!/usr/bin/env python3
# Makes this machine robot {robot} of fleet {fleet}: sudo python3 {file}
# It may hold a password of the registry: keep it as you keep that, and remove it afterwards.
"""


@dataclass(frozen=True, slots=True)
class Enrolment:
    """All that a machine needs to become one robot."""

    robot: str
    fleet: str
    zipapp: bytes
    version: str
    roots: Sequence[Signed]
    """Oldest first."""
    updater: Signed | None
    """The statement of ``zipapp``; None in an unsigned fleet."""
    access: RegistryAccess
    pull: PullSetup


def bundle(enrolment: Enrolment, file: str) -> str:
    """Return the bundle's text. ``file``: its name, for the line that says how to run it."""
    folder = Path(__file__).parent
    texts = {
        name: (folder / f"{name}.py").read_text(encoding="utf-8") for name in ("remote_install", "remote_registry")
    }
    program = (folder / "remote_enroll.py").read_text(encoding="utf-8")
    settings = enrolment.pull.settings
    assert settings is not None, "a bundle is for a robot that reports"
    trust = canonical_json(enrolment.roots[-1]).decode()
    content = {
        "robot": enrolment.robot,
        "fleet": enrolment.fleet,
        "root_dir": ROBOT_DIR,
        "zipapp": base64.b64encode(enrolment.zipapp).decode("ascii"),
        "programs": texts,
        "install": _install(enrolment),
        "registry": _registry(enrolment),
        "trust": trust,
        "roots": [to_dict(each) for each in enrolment.roots],
        "updater": None if enrolment.updater is None else canonical_json(enrolment.updater).decode(),
        "pull": to_dict(settings),
        "hub_ca": None if enrolment.pull.authority is None else base64.b64encode(enrolment.pull.authority).decode(),
        "host_keys": list(HOST_KEYS),
        "needs": list(NEEDS),
    }
    packed = base64.b64encode(json.dumps(content, sort_keys=True).encode()).decode("ascii")
    head = _HEAD.format(robot=enrolment.robot, fleet=enrolment.fleet, file=file)
    lines = "\n".join(packed[at : at + 120] for at in range(0, len(packed), 120))
    call = 'if __name__ == "__main__":\n    sys.exit(run(base64.b64decode(CONTENT).decode("utf-8")))\n'
    # The docstring and the future import stay at the program's own head: only a comment may come before them.
    return f'{head}{program}\n\nCONTENT = """\n{lines}\n"""\n\n{call}'


def _install(enrolment: Enrolment) -> dict[str, str]:
    signed = enrolment.updater
    return {
        "source": f"{ROBOT_DIR}/enroll.pyz",
        "sha256": hashlib.sha256(enrolment.zipapp).hexdigest(),
        "target": UPDATER_PATH,
        "command": COMMAND_PATH,
        "identity": IDENTITY_PATH,
        "robot": enrolment.robot,
        "fleet": enrolment.fleet,
        "socket": SOCKET_PATH,
        "unit": UNIT_PATH,
        "unit_text": UNIT,
        "wrapper_text": WRAPPER,
        "launcher_text": launcher_text(),
        "version": enrolment.version,
        "trial_s": f"{TRIAL_S:g}",
        "signed": "" if signed is None else canonical_json(signed).decode(),
    }


def _registry(enrolment: Enrolment) -> dict[str, object]:
    access = enrolment.access
    return {
        "identity": IDENTITY_PATH,
        "robot": enrolment.robot,
        "fleet": enrolment.fleet,
        "host": access.host,
        "certs": CERTS_DIR,
        "authority": None if access.authority is None else base64.b64encode(access.authority).decode("ascii"),
        "folder": LOGIN_DIR,
        "login": access.login,
        "helper": access.helper,
    }
