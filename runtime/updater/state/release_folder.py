"""What a release folder on the robot holds. Pure: an order in, file contents out."""

from __future__ import annotations

import re
from typing import Dict, Optional, Sequence, Tuple

from runtime.contract.codec import ContractError, canonical_json, from_json
from runtime.contract.node.runtime_config import DEFAULT_HEALTH_PORT, ENV_HEALTH_PORT, ENV_IMAGE, ENV_ROBOT
from runtime.contract.node.serving import ENV_HOST_NODE_DIR, ENV_SLOT, FIRST, node_folder
from runtime.contract.robot.update import RunningRelease, UpdateOrder, release_folder_name
from runtime.updater.state.world import PROJECT, Files, FolderFile, World, WorldError

ENV_FILE, RELEASE_FILE = ".env", "release.json"
COMPOSE_FILE, COMPOSE_PROJECT = "COMPOSE_FILE", "COMPOSE_PROJECT_NAME"

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_FILE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_DIGEST = re.compile(r"[^\s'\"$@]+@sha256:[0-9a-f]{64}")
#: Set by us alone; an order cannot say otherwise.
OURS = (ENV_IMAGE, ENV_ROBOT, ENV_SLOT, ENV_HOST_NODE_DIR, COMPOSE_FILE, COMPOSE_PROJECT)


def target_of(order: UpdateOrder, slot: str = FIRST) -> RunningRelease:
    """Return what the robot will run when ``order`` is done. The folder's name is without the slot, no content."""
    name = release_folder_name(order.variant.image, order.compose, order.environment, order.secrets)
    return RunningRelease(order.version, order.release_digest, order.variant.name, order.variant.image, name, slot)


def write_folder(world: World, order: UpdateOrder, folder: str, slot: str = FIRST) -> Tuple[str, ...]:
    """Write a release folder, with the secrets that the robot finds now; return the files that were not as given.

    Raises WorldError.
    """
    return world.write_release(folder, files_of(order, slot, secrets_of(world, order)))


def secrets_of(world: World, order: UpdateOrder) -> Dict[str, str]:
    """Return the values of an order's secrets, from this robot. Raises WorldError, which names no value."""
    found = {}
    for name in sorted(order.secrets):
        if name in OURS or name in order.environment:
            raise WorldError("{} is given twice, as a secret and otherwise".format(name), "correct it in the manifest")
        value = world.secret(order.secrets[name])
        quote(name, value)
        found[name] = value
    return found


def files_of(order: UpdateOrder, slot: str = FIRST, secrets: Optional[Dict[str, str]] = None) -> Files:
    """Return the release folder's files. Raises WorldError for an order that cannot be written safely.

    ``secrets``: the values of the order's, which stand in ``.env`` and nowhere else.

    In the second slot ``.env`` names the project, so that `docker compose` by hand means the right container.

    ``.env`` says nothing of the release's version: a container whose content did not change must not be replaced.
    """
    if not _DIGEST.fullmatch(order.variant.image):
        raise WorldError("the order names the image {!r}, not a digest".format(order.variant.image))
    files: Files = {}
    for name in order.variant.compose_files:
        if not _FILE.fullmatch(name) or name in (ENV_FILE, RELEASE_FILE):
            raise WorldError("the order's compose file {!r} is not a plain file name".format(name))
        if name not in order.compose:
            raise WorldError("the order names the compose file {} and does not carry it".format(name))
        files[name] = FolderFile(order.compose[name])
    if not files:
        raise WorldError("the order carries no compose file")
    values = {**environment_of(order, slot), **(secrets or {})}
    files[ENV_FILE] = FolderFile(environment_text(values), private=True)
    files[RELEASE_FILE] = FolderFile(canonical_json(order).decode("utf-8") + "\n", private=True)
    return files


def environment_of(order: UpdateOrder, slot: str = FIRST) -> Dict[str, str]:
    """Return what ``.env`` says: the order's own values, and ours over them."""
    values = dict(order.environment)
    values.setdefault(ENV_HEALTH_PORT, str(DEFAULT_HEALTH_PORT))
    values[ENV_IMAGE] = order.variant.image
    values[ENV_ROBOT] = order.robot
    values[COMPOSE_FILE] = ":".join(order.variant.compose_files)
    for name in (COMPOSE_PROJECT, ENV_SLOT, ENV_HOST_NODE_DIR):
        values.pop(name, None)
    if has_own_folder(order):
        values[ENV_HOST_NODE_DIR] = node_folder(slot, target_of(order).folder)
    if slot:
        values[COMPOSE_PROJECT], values[ENV_SLOT] = "{}-{}".format(PROJECT, slot), slot
    return values


def has_own_folder(order: UpdateOrder) -> bool:
    """Say whether the order's container gets a folder of its own; older compose files name one that all share.

    Their ``.env`` stays as it was, so that a robot keeps the container of an older release that it has.
    """
    return any(ENV_HOST_NODE_DIR in order.compose.get(name, "") for name in order.variant.compose_files)


def health_port(order: UpdateOrder) -> int:
    """Return the port of the agent. Raises WorldError when the order's environment gives none that can be."""
    text = order.environment.get(ENV_HEALTH_PORT, str(DEFAULT_HEALTH_PORT))
    if not text.isdigit() or not 0 < int(text) < 65536:
        raise WorldError("{} is {!r}, not a port".format(ENV_HEALTH_PORT, text), "correct it in the manifest")
    return int(text)


def environment_text(values: Dict[str, str]) -> str:
    """Return the content of ``.env``, sorted, every value taken literally by Compose."""
    return "".join("{}={}\n".format(name, quote(name, values[name])) for name in sorted(values))


def quote(name: str, value: str) -> str:
    """Quote one value so that Compose takes it literally. Raises WorldError for one that no quoting keeps safe."""
    if not _NAME.fullmatch(name):
        raise WorldError("{!r} is not a name of an environment variable".format(name), "correct it in the manifest")
    control = any(ord(char) < 32 or ord(char) == 127 for char in value)
    if not control and "'" not in value and not value.endswith("\\"):
        return "'" + value + "'"
    if not control and not any(char in value for char in '"\\$`'):
        return '"' + value + '"'
    raise WorldError(
        "the value of {} cannot be written to .env safely".format(name),
        "avoid control characters, a backslash at the end, and ' together with \" $ ` or \\",
    )


def order_in(world: World, folder: str) -> UpdateOrder:
    """Return the order that a release folder was written from. Raises WorldError, also when it is of other content."""
    try:
        order = from_json(UpdateOrder, world.read_release(folder, RELEASE_FILE))
    except ContractError as error:
        raise _damaged(folder, str(error)) from error
    if target_of(order).folder != folder:
        raise _damaged(folder, "its content is that of {}".format(target_of(order).folder))
    return order


def repair_contents(world: World, folder: str, slot: str) -> None:
    """Write a kept release's files again as they were when it was verified; say what had been changed since.

    One that cannot be mended is started as it is: a robot without any release is worse.
    """
    try:
        changed = write_folder(world, order_in(world, folder), folder, slot)
    except WorldError as error:
        world.note("releases/{} cannot be repaired: {}".format(folder, error.message))
        return
    if changed:
        world.note(changed_text(folder, changed))


def align(world: World, folder: str, slot: str) -> None:
    """Have a kept release's ``.env`` name the slot of the release that runs: started by hand, it takes its place."""
    wanted = environment_text({COMPOSE_PROJECT: "{}-{}".format(PROJECT, slot)}) if slot else ""
    said = [line for line in world.read_release(folder, ENV_FILE).splitlines(True) if line.startswith(COMPOSE_PROJECT)]
    if "".join(said) != wanted:
        write_folder(world, order_in(world, folder), folder, slot)


def changed_text(folder: str, names: Sequence[str]) -> str:
    """Say which files of a release folder were not as verified."""
    return "{} in releases/{} had been changed on the disk: written again".format(", ".join(names), folder)


def _damaged(folder: str, why: str) -> WorldError:
    return WorldError("releases/{}/{} is damaged: {}".format(folder, RELEASE_FILE, why), "roll the release out again")
