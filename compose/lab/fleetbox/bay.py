"""One bay of the lab: robots of its own, each put into a state that was kept, and a registry of its own to break.

A state is what a robot had in its two volumes. It is kept once and mounted read-only wherever a robot begins from it:
the layers of its images are linked, the rest (some MB) is copied by the robot itself as it starts (``init.py``).
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from fleetbox import containers, images, keys, network
from fleetbox.containers import KeptState
from fleetbox.lab import Lab
from fleetbox.running import RunningLab
from fleetbox.spec import LabError, LabSpec

STOP_S = 30
REPOSITORIES = "/var/lib/registry/docker/registry/v2/repositories"
MOVE = """set -e
for pair in "$@"; do
  from=/volumes/${pair%%:*}/_data to=/volumes/${pair##*:}/_data
  test -d "$from" && test -d "$to"
  find "$from" -mindepth 1 -maxdepth 1 -exec mv -t "$to" {} +
done"""
"""Renames what is in one volume into another one: no byte moves."""
CLONE = """set -e
from=/volumes/$1/_data/docker/registry/v2 to=/volumes/$2/_data/docker/registry/v2
mkdir -p "$to"
cp -a --link "$from/blobs" "$to/"
cp -a "$from/repositories" "$to/"
"""
"""Copies a registry's storage. Blobs never change, so they are links; tags and the like are small files."""


class Bay:
    """Robots of one worker. Every call can be made again; a robot that is put somewhere is made from nothing."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        self.spec: LabSpec = lab.spec
        self.running = RunningLab(lab)
        self._images: tuple[str, str] | None = None

    def prepare(self) -> None:
        """Bring up what all bays share: network, keys, images, the registry."""
        with self.lab.locked():
            containers.refuse_foreign(self.lab.client, self.spec)
            network.ensure_network(self.lab.client, self.spec, containers.labels(self.spec))
            keys.ensure_keys(self.spec)
            self._images = self.lab.images()
            shared = self.lab.spec.in_bay(0)
            containers.ensure_registry(self.lab.client, shared, self._images[0])
        self.lab.wait_registry()

    def put(self, robots: Sequence[str], states: dict[str, tuple[KeptState, ...]]) -> None:
        """Make robots again, as they were when their state was kept; as just flashed without one.

        Returns when their sshd and Engine answer. The bay's other robots stay as they are.
        """
        with ThreadPoolExecutor(len(robots)) as pool:
            list(pool.map(lambda name: self._put(name, states.get(name, ())), robots))

    def _put(self, name: str, states: tuple[KeptState, ...]) -> None:
        robot = self.lab.robot(name)
        containers.remove_robot(self.lab.client, robot)
        containers.ensure_robot(self.lab.client, self.spec, robot, self.images[1], states)
        self.lab.wait_robot(name, camera=not states)

    def put_systemd(self, name: str, states: tuple[KeptState, ...] = ()) -> None:
        """Make one robot anew, with systemd as its first process."""
        robot, client = self.lab.robot(name), self.lab.client
        with self.lab.locked():
            image = images.ensure_systemd_image(client, self.images[1], lambda _text: None)
        containers.remove_robot(client, robot)
        containers.ensure_robot(client, self.spec, robot, image, states, systemd=True)
        self.lab.wait_robot(name, camera=False)

    def off(self, robots: Sequence[str]) -> None:
        """Cut the power of robots that nobody needs now; those that are not there stay away."""
        for name in robots:
            container = containers.find(self.lab.client, self.lab.robot(name).container)
            if container is not None and container.status == "running":
                container.kill()

    def keep(self, name: str, state: KeptState) -> None:
        """Shut a robot down in order, and keep what it had. The robot is gone: put it back from the state."""
        robot, client = self.lab.robot(name), self.lab.client
        self.lab.exec(name, ["jetfleet-lab-init", "--keep"]).check()
        container = self.lab.container(name)
        container.stop(timeout=STOP_S)
        container.remove()
        containers.remove_volumes(client, [state.docker_volume, state.state_volume])
        for volume in (state.docker_volume, state.state_volume):
            client.volumes.create(volume, labels=containers.labels(self.spec))
        pairs = (robot.docker_volume, state.docker_volume), (robot.state_volume, state.state_volume)
        self._on_volumes(MOVE, *(f"{old}:{new}" for old, new in pairs))
        containers.remove_robot(client, robot)

    def with_own_registry(self) -> RunningLab:
        """Return the bay with a registry of its own: it begins with all that the lab's has now, and may be broken."""
        spec = self.spec.in_bay(self.spec.bay, own_registry=True)
        containers.remove_registry(self.lab.client, spec)
        self.lab.client.volumes.create(spec.registry_volume, labels=containers.labels(spec))
        self._on_volumes(CLONE, self.spec.registry_volume, spec.registry_volume)
        containers.ensure_registry(self.lab.client, spec, self.images[0])
        own = Lab(spec, lambda _text: None)
        own.wait_registry()
        return RunningLab(own)

    def remove_states(self, prefix: str) -> None:
        """Remove all states whose name begins so."""
        found = self.lab.client.volumes.list(filters={"label": f"{containers.LABEL_LAB}={self.spec.name}"})
        containers.remove_volumes(self.lab.client, [str(each.name) for each in found if each.name.startswith(prefix)])

    def copy_repositories(self, source: str, target: str) -> None:
        """Let the lab's registry have all of one prefix under another one too."""
        self._in_registry(f"cp -a {REPOSITORIES}/{source} {REPOSITORIES}/{target}")

    def forget(self, prefix: str) -> None:
        """Remove every prefix that begins so from the lab's registry; the blobs stay."""
        self._in_registry(f"rm -rf {REPOSITORIES}/{prefix}*")

    def _in_registry(self, script: str) -> None:
        name = self.spec.registry_container
        done = self.lab.client.containers.get(name).exec_run(["sh", "-c", script], user="root")
        if done.exit_code != 0:
            raise LabError(f"{script} in {name} ended with {done.exit_code}: {done.output!r}")

    def remove(self) -> None:
        """Remove the bay's robots and its own registry; the lab's registry, images and states stay."""
        for robot in self.spec.robots:
            containers.remove_robot(self.lab.client, robot)
        containers.remove_registry(self.lab.client, self.spec.in_bay(self.spec.bay, own_registry=True))
        for robot in self.spec.robots:
            self.remove_states(f"{robot.container}-")

    @property
    def images(self) -> tuple[str, str]:
        """Tags of the registry's and the robots' image. Raises LabError before `prepare`."""
        if self._images is None:
            raise LabError("this bay is not prepared")
        return self._images

    def _on_volumes(self, script: str, *arguments: str) -> None:
        """Run a script in a container that has all volumes of the machine below /volumes."""
        client = self.lab.client
        point = str(client.volumes.get(self.spec.registry_volume).attrs["Mountpoint"])
        root, _, end = point.rpartition(f"/{self.spec.registry_volume}/")
        if end != "_data":
            raise LabError(f"volumes of this Engine lie elsewhere than the lab knows: {point}")
        client.containers.run(
            self.images[1],
            ["-c", script, "sh", *arguments],
            entrypoint="sh",
            volumes={root: {"bind": "/volumes", "mode": "rw"}},
            remove=True,
            labels=containers.labels(self.spec),
        )
