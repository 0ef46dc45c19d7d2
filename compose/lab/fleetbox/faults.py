"""What can be broken in the lab, and repaired again: power, links, services, disks, the registry.

Each breaker is a plain call (tests decide when to correct) and returns only when the break is real.
"""

from __future__ import annotations

from docker.errors import DockerException
from docker.models.containers import Container

from fleetbox import containers
from fleetbox.lab import Lab
from fleetbox.spec import LabError
from fleetbox.waiting import wait_for

RUN = "/run/jetfleet-lab"
SERVICE_DEADLINE_S = 30
SERVICES = ("sshd", "dockerd", "camera", "updater")


class Faults:
    """Breaks and repairs one lab."""

    def __init__(self, lab: Lab) -> None:
        self._lab = lab

    # ── power ────────────────────────────────────────────────────────────────────────────────────────────────────

    def power_off(self, robot: str) -> None:
        """Cut the power: every process of the robot dies at once, nothing is flushed."""
        self._lab.container(robot).kill()

    def power_on(self, robot: str) -> None:
        """Give power and wait until the robot answers again; its volumes are as they were."""
        self._lab.container(robot).start()
        self._lab.wait_robot(robot)

    def power_cycle(self, robot: str) -> None:
        """Cut the power and give it again."""
        self.power_off(robot)
        self.power_on(robot)

    # ── link ─────────────────────────────────────────────────────────────────────────────────────────────────────

    def cut_link(self, robot: str) -> None:
        """Pull the robot's cable: no SSH, no registry; interface and address stay. A power cycle plugs it in again."""
        self._on_cable(robot, "ip link set dev $cable down")

    def remove_nic(self, robot: str) -> None:
        """Take the interface away altogether, across power cycles.

        ROS nodes started after this do not find nodes started before: Fast DDS tells hosts apart by their interfaces.
        """
        network = self._lab.client.networks.get(self._lab.spec.network)
        if self._has_nic(robot):
            network.disconnect(self._lab.container(robot), force=True)

    def restore_link(self, robot: str) -> None:
        """Undo cut_link and remove_nic: the robot is back under its address, its camera started again."""
        if self._has_nic(robot):
            if self._lab.exec(robot, ["cat", "/sys/class/net/eth0/carrier"]).stdout.strip() != "1":
                self._on_cable(robot, "ip link set dev $cable up")
        else:
            network = self._lab.client.networks.get(self._lab.spec.network)
            network.connect(self._lab.container(robot), ipv4_address=self._lab.robot(robot).address)
            # A camera that started without the interface would share no memory with an executor that starts now.
            pid = f"{RUN}/camera.pid"
            self._lab.exec(robot, ["sh", "-c", f"test ! -e {pid} || kill $(cat {pid})"]).check()

    def slow_link(self, robot: str, kilobits_per_s: int) -> None:
        """Shape what the robot receives (a token bucket on the host's end of its cable)."""
        rate = f"rate {kilobits_per_s}kbit burst 32kbit latency 400ms"
        self._on_cable(robot, f"tc qdisc replace dev $cable root tbf {rate}")

    def full_speed(self, robot: str) -> None:
        """Undo slow_link."""
        self._on_cable(robot, "tc qdisc del dev $cable root")

    # ── services inside a robot ──────────────────────────────────────────────────────────────────────────────────

    def kill_service(self, robot: str, service: str, signal: str = "KILL") -> None:
        """Send a signal to one service; the robot's supervisor starts it again, as systemd would."""
        self._lab.exec(robot, ["sh", "-c", f"kill -{signal} $(cat {RUN}/{self._known(service)}.pid)"]).check()

    def stop_service(self, robot: str, service: str) -> None:
        """Stop one service and keep it down until start_service."""
        hold, pid = f"{RUN}/{self._known(service)}.hold", f"{RUN}/{service}.pid"
        self._lab.exec(robot, ["sh", "-c", f"touch {hold}; test ! -e {pid} || kill $(cat {pid})"]).check()

        def running() -> str | None:
            output = self._lab.exec(robot, ["test", "-e", pid])
            return "it still runs" if output.exit_code == 0 else None

        wait_for(f"{service} inside {robot} to stop", running, SERVICE_DEADLINE_S)

    def start_service(self, robot: str, service: str) -> None:
        """Let a stopped service run again, and wait until it does."""
        self._lab.exec(robot, ["rm", "-f", f"{RUN}/{self._known(service)}.hold"]).check()
        if service == "dockerd":
            wait_for(f"the Engine inside {robot}", lambda: self._lab.engine_reason(robot), SERVICE_DEADLINE_S)
            return

        def stopped() -> str | None:
            output = self._lab.exec(robot, ["test", "-e", f"{RUN}/{service}.pid"])
            return None if output.exit_code == 0 else "it does not run yet"

        wait_for(f"{service} inside {robot} to start", stopped, SERVICE_DEADLINE_S)

    def wait_restart(self, robot: str, service: str, old_pid: str) -> None:
        """Wait until the service runs under another process id than ``old_pid``."""

        def same() -> str | None:
            output = self._lab.exec(robot, ["cat", f"{RUN}/{self._known(service)}.pid"])
            new = output.stdout.strip()
            return None if output.exit_code == 0 and new != old_pid.strip() else f"process {new or 'none'}"

        wait_for(f"{service} inside {robot} to be restarted", same, SERVICE_DEADLINE_S)

    def stop_inner_engine(self, robot: str) -> None:
        """Stop the Docker Engine of the robot and keep it down."""
        self.stop_service(robot, "dockerd")

    def start_inner_engine(self, robot: str) -> None:
        """Undo stop_inner_engine."""
        self.start_service(robot, "dockerd")

    # ── disk ─────────────────────────────────────────────────────────────────────────────────────────────────────

    def shrink_disk(self, robot: str, megabytes: int) -> None:
        """Give the robot's Engine an empty disk of that size (RAM); what it had is hidden until restore_disk."""
        self.stop_inner_engine(robot)
        mount = ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "lab-small-disk", "/var/lib/docker"]
        self._lab.exec(robot, mount).check()
        self.start_inner_engine(robot)

    def restore_disk(self, robot: str) -> None:
        """Undo shrink_disk."""
        self.stop_inner_engine(robot)
        self._lab.exec(robot, ["umount", "--lazy", "/var/lib/docker"]).check()
        self.start_inner_engine(robot)

    # ── registry ─────────────────────────────────────────────────────────────────────────────────────────────────

    def stop_registry(self) -> None:
        """Stop the registry: connections to it are refused or time out."""
        self._registry().stop(timeout=5)

    def start_registry(self) -> None:
        """Start the registry again and wait until it answers; what it stored is still there."""
        self._registry().start()
        self._lab.wait_registry()

    def _registry(self) -> Container:
        found = containers.find(self._lab.client, self._lab.spec.registry_container)
        if found is None:
            raise LabError("the registry is not there", "run `make lab-up`")
        return found

    def _known(self, service: str) -> str:
        if service not in SERVICES:
            raise LabError(f"robots have no service {service!r}", f"they have {', '.join(SERVICES)}")
        return service

    def _has_nic(self, robot: str) -> bool:
        return self._lab.spec.network in self._lab.container(robot).attrs["NetworkSettings"]["Networks"]

    def _on_cable(self, robot: str, command: str) -> None:
        """Run a command in the machine's own network namespace; $cable is the interface that leads to the robot."""
        index = self._lab.exec(robot, ["cat", "/sys/class/net/eth0/iflink"]).check().strip()
        find = f"cable=$(ip -o link | sed -n 's/^{index}: \\([^@:]*\\).*/\\1/p'); test -n \"$cable\" || exit 9; "
        try:
            self._lab.client.containers.run(
                str(self._lab.container(robot).attrs["Image"]),
                entrypoint=["sh", "-c", find + command],
                network_mode="host",
                cap_add=["NET_ADMIN"],
                remove=True,
                labels=containers.labels(self._lab.spec),
            )
        except DockerException as error:
            raise LabError(f"cannot change the link of {robot}: {error}") from error
