"""Where this robot's own login to the fleet's registry lies, and how the docker client is given it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import List

from runtime.contract.robot.update import REGISTRY_FOLDER

LOGIN_HINT = (
    "give the robot a login to the registry: registry.robots in fleet.yaml, then `fleet bootstrap` (or `sudo docker "
    "login` at the robot)"
)
TRUST_HINT = "name the authority that signed it in registry.ca_file of fleet.yaml, then run `fleet bootstrap`"


def login_folder(root: Path) -> Path:
    """Return the folder that `fleet bootstrap` writes; ``root``: the updater's."""
    return root / REGISTRY_FOLDER


def docker_folder() -> Path:
    """Return the folder of the docker client's own configuration."""
    named = os.environ.get("DOCKER_CONFIG")
    return Path(named) if named else Path(os.environ.get("HOME", "/root")) / ".docker"


def pull_words(docker: str, root: Path, reference: str) -> List[str]:
    """Return the command that pulls an image, with the fleet's login where there is one for its registry.

    The secret stays in the file: the command names its folder.
    """
    from runtime.contract.registry.docker_logins import DockerLogins, LoginError  # an idle updater pulls nothing

    folder = login_folder(root)
    try:
        ours = DockerLogins(folder).knows(reference.partition("/")[0])
    except LoginError:
        ours = True  # the client then says what is wrong with the file
    return [docker, *(["--config", str(folder)] if ours else []), "pull", reference]
