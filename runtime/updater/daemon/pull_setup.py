"""What a robot is told of registry and hub by `fleet bootstrap`, over the socket: no secret, and nothing to believe.

Whoever brings another registry or hub can hide or delay; what the robot does is signed all the same.
"""

from __future__ import annotations

import base64
import binascii
from dataclasses import replace
from pathlib import Path
from typing import Any, Dict, Tuple

from runtime.contract.codec import canonical_json, from_dict
from runtime.contract.json_decoder import ContractError
from runtime.contract.registry.docker_logins import DockerLogins, LoginError
from runtime.contract.robot.pull_settings import HUB_CA_FILE, PULL_FILE, PullSettings, check_settings
from runtime.updater.pull.host_key import HostKey
from runtime.updater.robot.registry_login import login_folder
from runtime.updater.storage.durable import remove, replace_durable
from runtime.updater.transaction.update_state import Rejected

MAX_AUTHORITY = 1 << 20


def take_pull(root: Path, machine: Path, identity: Tuple[str, str], request: Dict[str, Any]) -> str:
    """Write or remove ``pull.json``; return the robot's public host key, which signs its reports.

    ``request``: ``settings`` (PullSettings, or null: the robot neither pulls nor reports), ``hub_ca`` (base64 of a PEM
    bundle, or null). Raises Rejected, ContractError, WorldError, OSError.
    """
    if request.get("settings") is None:
        remove(root / PULL_FILE)
        remove(root / HUB_CA_FILE)
        return ""
    settings = check_settings(from_dict(PullSettings, request["settings"], "settings"))
    if (settings.robot, settings.fleet) != identity:
        text = "the settings are of {} in fleet {}, this machine is {} in fleet {}"
        raise Rejected("refused", text.format(settings.robot, settings.fleet, *identity), "run `fleet bootstrap`")
    if settings.host_key or settings.hub_ca:
        raise Rejected("usage", "host_key and hub_ca are paths at the robot: they are not brought to it")
    _refuse_in_the_clear(root, settings)
    authority = _authority(request.get("hub_ca"))
    key = HostKey(settings, machine).public()
    place = root / HUB_CA_FILE
    if authority:
        replace_durable(place, authority)
        settings = replace(settings, hub_ca=str(place))
    else:
        remove(place)
    replace_durable(root / PULL_FILE, canonical_json(settings) + b"\n")
    return key


def _refuse_in_the_clear(root: Path, settings: PullSettings) -> None:
    """Whoever may use the socket is not root: they cannot have the registry's login sent without TLS."""
    scheme, _, host = settings.registry.partition("://")
    if scheme == "https":
        return
    try:
        known = DockerLogins(login_folder(root)).knows(host)
    except LoginError:
        known = True
    if known:
        text = "this robot has a login for {}, and it would be shown there without TLS".format(host)
        raise Rejected("refused", text, "give the registry TLS, and take plain_http out of the manifest")


def _authority(given: Any) -> bytes:
    if given is None:
        return b""
    try:
        found = base64.b64decode(given, validate=True)
    except (TypeError, ValueError, binascii.Error) as error:
        raise ContractError("hub_ca: not base64") from error
    if len(found) > MAX_AUTHORITY or b"PRIVATE KEY" in found:
        raise ContractError("hub_ca: a PEM bundle of certificates, at most 1 MiB, and no private key")
    return found
