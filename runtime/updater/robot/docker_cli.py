"""Docker, by its own client: credentials, contexts and Compose are then the robot's own."""

from __future__ import annotations

import re
import threading
from pathlib import Path
from typing import Any, Dict, List, Optional, Tuple

from runtime.contract.json_decoder import ContractError, decode
from runtime.contract.node.runtime_config import NODE_DIR
from runtime.updater.robot import engine_info, process
from runtime.updater.robot.registry_login import LOGIN_HINT, TRUST_HINT, pull_words
from runtime.updater.robot.throwaway_name import is_throwaway
from runtime.updater.state.world import (
    KEEP_REPOSITORY,
    PROJECT,
    SERVICE,
    ContainerFacts,
    DockerFacts,
    ImageFacts,
    OnLayer,
    WorldError,
)

ASK_S, UP_S, STALL_S = 30.0, 240.0, 120.0
#: Characters of the docker client's words that are looked at together.
MAX_LINE = 1 << 20

_ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
_LAYER = re.compile(r"([0-9a-f]{12}): (.+)")
_LAYER_STATES = (
    ("Already exists", "exists"),
    ("Download complete", "downloaded"),
    ("Pull complete", "downloaded"),
    ("Extracting", "downloaded"),
    ("", "downloading"),
)
#: Words in an Engine's answer → whether trying again may help, and what to do.
_KNOWN: Tuple[Tuple[str, bool, str], ...] = (
    ("no space left on device", False, "free space on the volume of Docker's root folder"),
    ("manifest unknown", False, "the image is not in the registry: publish the release again"),
    ("name unknown", False, "the image is not in the registry: publish the release again"),
    ("unauthorized", False, LOGIN_HINT),
    ("no basic auth", False, LOGIN_HINT),
    ("access denied", False, LOGIN_HINT),
    ("server gave http response to https", False, "name the registry in insecure-registries of the robot's Engine"),
    ("certificate", False, TRUST_HINT),
    ("resource is denied", False, LOGIN_HINT),
    ("unknown or invalid runtime", False, "install the NVIDIA container runtime on the robot"),
)


class DockerCli:
    """The part of the world that is Docker. ``project``: the Compose project, ``root``: holds ``releases/``."""

    def __init__(
        self,
        root: Path,
        interrupt: threading.Event,
        project: str = PROJECT,
        docker: str = "docker",
        machine: Path = Path("/"),
    ) -> None:
        self._root = root
        self._host = machine
        self._interrupt = interrupt
        self._project = project
        self._docker = docker

    def engine(self) -> DockerFacts:
        """Ask Docker and Compose what they are."""
        server = _object("docker version", self._ask("version", "--format", "{{json .Server}}"))
        info = _object("docker info", self._ask("info", "--format", "{{json .}}"))
        compose = process.run([self._docker, "compose", "version", "--short"], ASK_S)
        if compose.code != 0:
            raise WorldError("Docker Compose does not answer on this robot", "install docker-compose-plugin")
        platform = "{}/{}".format(server.get("Os", ""), server.get("Arch", ""))
        return DockerFacts(
            str(server.get("Version", "")),
            compose.out.strip().lstrip("v"),
            platform,
            str(info.get("DockerRootDir") or ""),
            engine_info.images_folder(info, self._host),
            engine_info.runtimes(info),
            engine_info.plain_loopback(info),
        )

    def image(self, reference: str) -> Optional[ImageFacts]:
        """Return a local image by digest reference or id, or None."""
        found = self._inspect("image", reference)
        if found is None:
            return None
        return ImageFacts(
            id=found["Id"],
            references=tuple(name for name in found.get("RepoDigests") or () if not is_throwaway(name)),
            platform="{}/{}".format(found.get("Os", ""), found.get("Architecture", "")),
            layers=tuple((found.get("RootFS") or {}).get("Layers") or ()),
            labels=dict((found.get("Config") or {}).get("Labels") or {}),
        )

    def pull(self, reference: str, on_layer: OnLayer) -> None:
        """Fetch an image by digest; layer by layer, ended when nothing moves for ``STALL_S``."""
        reader = PullReader(on_layer, again=True)
        code = process.follow(pull_words(self._docker, self._root, reference), reader.feed, STALL_S, self._interrupt)
        reader.feed("\n")
        if code != 0:
            raise failure("docker pull", process.tail(reader.other[-5:]), transient=True)

    def keep_image(self, reference: str, name: str) -> None:
        """Give a local image the name ``KEEP_REPOSITORY:name``."""
        self._ask("tag", reference, "{}:{}".format(KEEP_REPOSITORY, name))

    def kept_images(self) -> Dict[str, Tuple[str, ...]]:
        """Return our images: name below ``KEEP_REPOSITORY`` → digest references."""
        names = self._ask("image", "ls", "--filter", "reference=" + KEEP_REPOSITORY, "--format", "{{.Tag}}").split()
        found = {name: self.image("{}:{}".format(KEEP_REPOSITORY, name)) for name in names if name != "<none>"}
        return {name: image.references for name, image in found.items() if image is not None}

    def remove_image(self, reference: str) -> bool:
        """Remove a name or digest reference; False when a container still uses it or it is gone."""
        ran = process.run([self._docker, "image", "rm", reference], UP_S)
        if ran.code == 0:
            return True
        if "No such image" in ran.err or "conflict" in ran.err or "being used" in ran.err:
            return False
        raise failure("docker image rm", ran.err)

    def compose_image(self, folder: str) -> str:
        """Let Compose parse the release folder and return the image it would run."""
        return str(self._service(folder).get("image", ""))

    def compose_shares(self, folder: str) -> Tuple[str, ...]:
        """Let Compose parse the release folder and return the host's folders that its container would share."""
        volumes = self._service(folder).get("volumes") or ()
        return tuple(str(volume.get("source", "")) for volume in volumes if volume.get("type") == "bind")

    def compose_runtime(self, folder: str) -> str:
        """Let Compose parse the release folder and return the container runtime that it names; empty for none."""
        return str(self._service(folder).get("runtime") or "")

    def _service(self, folder: str) -> Dict[str, Any]:
        config = _object("docker compose config", self._compose(folder, "", ASK_S, "config", "--format", "json"))
        services = config.get("services")
        service = services.get(SERVICE) if isinstance(services, dict) else None
        if not isinstance(service, dict):
            raise WorldError("the release's compose files have no service {!r}".format(SERVICE))
        return service

    def compose_up(self, folder: str, slot: str = "") -> None:
        """Make the slot's containers those of the release folder; leave alone what is right already."""
        self._compose(folder, slot, UP_S, "up", "--detach", "--no-build", "--remove-orphans")

    def compose_stop(self, folder: str, slot: str = "") -> None:
        """End the slot's containers and leave them there."""
        self._compose(folder, slot, UP_S, "stop")

    def compose_down(self, folder: str, slot: str = "") -> None:
        """Stop and remove the slot's containers, whichever release they are of."""
        self._compose(folder, slot, UP_S, "down", "--remove-orphans")

    def logs(self, folder: str, slot: str, tail: int, since: str) -> str:
        """Return the slot's last lines with their times, not before ``since`` (as Docker writes a time; empty: any)."""
        more = ["--since", since] if since else []
        words = ["logs", "--no-color", "--no-log-prefix", "--timestamps", "--tail", str(tail), *more]
        return self._compose(folder, slot, ASK_S, *words)

    def container(self, slot: str = "") -> Optional[ContainerFacts]:
        """Return the slot's runtime container, running or not; the running one where a switch was cut between two."""
        project = self._project_of(slot)
        labels = "label=com.docker.compose.project=" + project, "label=com.docker.compose.service=" + SERVICE
        filters = [word for label in labels for word in ("--filter", label)]
        ids = self._ask("ps", "--all", "--quiet", "--no-trunc", *filters).split()
        found = [facts for facts in map(self._container, ids) if facts is not None]
        return next((facts for facts in found if facts.status == "running"), found[0] if found else None)

    def _project_of(self, slot: str) -> str:
        return "{}-{}".format(self._project, slot) if slot else self._project

    def _container(self, container: str) -> Optional[ContainerFacts]:
        found = self._inspect("container", container)
        if found is None:
            return None
        state: Dict[str, Any] = found["State"]
        return ContainerFacts(
            id=found["Id"],
            image_id=found["Image"],
            image_name=str((found.get("Config") or {}).get("Image", "")),
            status=str(state.get("Status", "")),
            started_at=str(state.get("StartedAt", "")),
            restarts=int(found.get("RestartCount") or 0),
            exit_code=int(state.get("ExitCode") or 0),
            error=str(state.get("Error") or ""),
            node_dir=_mounted(found.get("Mounts"), NODE_DIR),
        )

    def _inspect(self, kind: str, name: str) -> Optional[Dict[str, Any]]:
        ran = process.run([self._docker, kind, "inspect", name], ASK_S)
        if ran.code == 0:
            return _object("docker {} inspect".format(kind), ran.out)
        if "no such" in ran.err.lower():
            return None
        raise failure("docker {} inspect".format(kind), ran.err)

    def _ask(self, *words: str) -> str:
        ran = process.run([self._docker, *words], ASK_S)
        if ran.code != 0:
            raise failure("docker " + words[0], ran.err)
        return ran.out

    def _compose(self, folder: str, slot: str, timeout_s: float, *words: str) -> str:
        where = str(self._root / "releases" / folder)
        project = self._project_of(slot)
        ran = process.run([self._docker, "compose", "--project-name", project, *words], timeout_s, cwd=where)
        if ran.code != 0:
            raise failure("docker compose " + words[0], process.tail(ran.err.splitlines()[-5:]))
        return ran.out


def _mounted(mounts: Any, inside: str) -> str:
    """Return the host's folder that is mounted at ``inside``; empty when none is."""
    return next((str(one.get("Source", "")) for one in mounts or () if one.get("Destination") == inside), "")


def _object(what: str, text: str) -> Dict[str, Any]:
    """Return the object, or the first of a list of them, that the docker client printed. Raises WorldError."""
    try:
        value = decode(text, "`{}`".format(what))
    except ContractError as error:
        raise WorldError(str(error), "see the Engine's log on the robot", transient=True) from error
    found = value[0] if isinstance(value, list) and value else value
    if not isinstance(found, dict):
        raise WorldError("`{}` answers without an object".format(what), "see the Engine's log on the robot")
    return found


class PullReader:
    """Reads what `docker pull` says on a terminal: a state for each layer, and other lines (errors among them).

    ``again``: call ``on_layer`` for every line of a layer, so that whoever waits can look at the time; otherwise only
    where its state is a new one.
    """

    def __init__(self, on_layer: OnLayer, again: bool = False) -> None:
        self._again = again
        self.other: List[str] = []
        self._on_layer = on_layer
        self._states: Dict[str, str] = {}
        self._rest = ""

    def feed(self, text: str) -> None:
        """Take the next piece; a line may come in several."""
        *lines, self._rest = re.split(r"[\r\n]+", (self._rest + text)[-MAX_LINE:])
        for line in lines:
            self._line(_ESCAPES.sub("", line).strip())

    def _line(self, line: str) -> None:
        match = _LAYER.fullmatch(line)
        if not match:
            if line:
                self.other = [*self.other[-20:], line[:1000]]
            return
        state = next(state for words, state in _LAYER_STATES if match[2].startswith(words))
        if self._again or self._states.get(match[1]) != state:
            self._states[match[1]] = state
            self._on_layer(match[1], state)


def failure(what: str, said: str, transient: bool = False) -> WorldError:
    """Return the error for what the docker client said, with what to do about it."""
    text = said.strip() or "no reason given"
    lower = text.lower()
    if "cannot connect to the docker daemon" in lower or "error during connect" in lower or "docker.sock" in lower:
        hint = "start it on the robot: `systemctl start docker`"
        return WorldError("the robot's Docker Engine does not answer: {}".format(text), hint, engine_down=True)
    for words, again, hint in _KNOWN:
        if words in lower:
            return WorldError("{}: {}".format(what, text), hint, transient=again)
    return WorldError("{}: {}".format(what, text), "see the Engine's log on the robot", transient=transient)
