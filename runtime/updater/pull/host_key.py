"""The robot's SSH host key signs its reports: `fleet` pinned it when the robot was bootstrapped or enrolled."""

from __future__ import annotations

from pathlib import Path

from runtime.contract.node.report import NAMESPACE
from runtime.contract.robot.pull_settings import HOST_KEYS, PullSettings
from runtime.updater.robot import process
from runtime.updater.state.world import WorldError

KEYGEN_S = 20.0
_HINT = "make one at the robot: sudo ssh-keygen -A; then pin it: fleet enroll accept"


class HostKey:
    """Raises WorldError when the robot has no host key, or it does not sign."""

    def __init__(self, settings: PullSettings, machine: Path = Path("/")) -> None:
        named = [Path(settings.host_key)] if settings.host_key else [machine / each for each in HOST_KEYS]
        found = next((path for path in named if path.exists()), None)
        if found is None:
            places = ", ".join(str(path) for path in named)
            raise WorldError("this robot has no SSH host key to sign its reports with ({})".format(places), _HINT)
        self._path = found

    def public(self) -> str:
        """Return ``TYPE BASE64`` of the public key, from the private one: the file next to it may be another's."""
        ran = process.run(["ssh-keygen", "-y", "-f", str(self._path)], KEYGEN_S)
        words = ran.out.split()
        if ran.code != 0 or len(words) < 2:
            raise WorldError("{} cannot be read: {}".format(self._path, ran.err.strip()[-300:]), _HINT)
        return " ".join(words[:2])

    def sign(self, content: bytes) -> str:
        """Return an armored signature in the namespace of reports."""
        words = ["ssh-keygen", "-Y", "sign", "-q", "-f", str(self._path), "-n", NAMESPACE]
        ran = process.run(words, KEYGEN_S, given=content)
        if ran.code != 0 or "BEGIN SSH SIGNATURE" not in ran.out:
            raise WorldError("{} does not sign: {}".format(self._path, ran.err.strip()[-300:]), _HINT)
        return ran.out
