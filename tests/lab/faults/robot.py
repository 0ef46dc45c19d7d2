"""One lab robot in the hands of a kill matrix: stopped at a transition, hurt, and looked at when it is at rest."""

from __future__ import annotations

import json
import shlex
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from fleetbox.running import RunningLab

from runtime.contract.codec import canonical_json, from_dict
from runtime.contract.node.attestation import Attestation
from runtime.contract.robot.update import COMMAND_PATH, ROBOT_DIR, UpdateOrder, UpdateState
from runtime.updater.state.records import Journal
from runtime.updater.state.transitions import kept_releases

FOLDER, STOPPER = "/run/jetfleet-lab/faults", Path(__file__).with_name("stopper.py")
DEADLINE_S = 480.0
POLL_S = 0.1
EXIT_OUTSIDE = 3
END = "END-OF-ALL"


class KillRobot:
    """Everything here goes past SSH: the robot's own commands, run as root inside it."""

    def __init__(self, lab: RunningLab, name: str) -> None:
        self.lab, self.name = lab, name

    # ── its updater ──

    def hold_at(self, moment: str, when: str, clock_s: float = 0.0) -> None:
        """Run the updater so that it stops at ``moment``, instead of what runs; its clock is ``clock_s`` ahead."""
        self.lab.stop_service(self.name, "updater")
        self.kill_stopper()
        self.shell(f"rm -rf {FOLDER}; mkdir -p {FOLDER}; cat > {FOLDER}/stopper.py", stdin=STOPPER.read_text())
        self.shift_clock(clock_s)
        run = f"python3 {FOLDER}/stopper.py {moment} {when} {FOLDER}"
        start = f"setsid {run} > {FOLDER}/log 2>&1 < /dev/null & echo $! > {FOLDER}/pid"
        self.shell(f"test -e {FOLDER}/pid || {{ {start}; }}")
        self.until("the updater that stops", self.state)

    def stopped(self) -> bool:
        """Whether it stands at its moment."""
        return self.run(f"test -e {FOLDER}/stopped")[0] == 0

    def go(self) -> None:
        """Let it go on."""
        self.shell(f"touch {FOLDER}/go")

    def kill_stopper(self) -> None:
        """Kill the updater that stops, if there is one."""
        self.shell(f"test ! -e {FOLDER}/pid || kill -9 $(cat {FOLDER}/pid) 2> /dev/null; rm -f {FOLDER}/pid")

    def set_free(self) -> None:
        """Kill the updater that stops, if there is one, and let the service run (again)."""
        self.kill_stopper()
        self.lab.start_service(self.name, "updater")

    def shift_clock(self, seconds: float) -> None:
        """Set the clock of the updater that stops: robots of the lab share their machine's, which stays right."""
        self.shell(f"echo {seconds} > {FOLDER}/clock.new; mv {FOLDER}/clock.new {FOLDER}/clock")

    def ask(self, *words: str, stdin: str = "") -> Any:
        """Ask the updater; its JSON answer, or None when it does not answer (now). Other refusals fail the test."""
        code, said = self.run(f"timeout 60 {COMMAND_PATH} {shlex.join(words)}", stdin)
        if code in (124, 137, EXIT_OUTSIDE):
            return None
        assert code == 0, f"{self.name}: fleet-updater {words[0]} ended with {code}: {said}"
        return json.loads(said)

    def state(self) -> UpdateState | None:
        """What it says of itself; None while it is away."""
        found = self.lab.ask_updater(self.name, "status")
        return None if found is None else from_dict(UpdateState, found)

    def submit(self, order: UpdateOrder) -> None:
        """Hand over an order; whether it was taken is seen later."""
        self.ask("submit", stdin=canonical_json(order).decode())

    def confirm(self, order: UpdateOrder) -> None:
        """Confirm if it still awaits that."""
        self.run(f"timeout 60 {COMMAND_PATH} confirm {order.order_id}")

    def finish(self, order: UpdateOrder) -> UpdateState:
        """Be the controller until the order has ended: give it again where it was lost, confirm, look."""

        def ended() -> UpdateState | None:
            state = self.state()
            if state is None:
                return None
            if state.awaiting_confirmation:
                self.confirm(order)
            elif state.state == "idle" and state.order_id != order.order_id:
                self.submit(order)
            elif state.state == "idle" and not self.journal().tidy_due:
                return state
            return None

        state: UpdateState = self.until(f"the end of order {order.order_id}", ended)
        return state

    def bring(self, order: UpdateOrder) -> None:
        """Have it commit ``order``."""
        self.submit(order)
        state = self.finish(order)
        assert state.outcome == "committed", f"{self.name}: {state}"

    # ── what is on it ──

    def journal(self) -> Journal:
        """As it is on disk."""
        text = self.shell(f"cat {ROBOT_DIR}/state/journal.json")
        return from_dict(Journal, json.loads(text)["journal"])

    def containers(self) -> list[tuple[str, str]]:
        """Return (image, state) of every runtime container, running or not."""
        label = "label=com.docker.compose.service=runtime"
        listed = f"docker ps --all --no-trunc --filter {label} --format '{{{{.Image}}}} {{{{.State}}}}'"
        lines = self.shell(listed).splitlines()
        return [(image, state) for image, _, state in (line.partition(" ") for line in lines)]

    def half_states(self) -> list[str]:
        """Return what of the robot does not fit together, besides its health; nothing when it is whole."""
        journal, found = self.journal(), []
        if journal.state != "idle" or journal.tidy_due or journal.request is not None:
            found.append(f"the journal is in {journal.state}, to be tidied: {journal.tidy_due}")
        current, previous = journal.current, journal.previous
        assert current is not None
        if self.containers() != [(current.image, "running")]:
            found.append(f"containers {self.containers()}, the journal says {current.image}")
        for name, release in (("current", current), ("previous", previous)):
            link = self.run(f"readlink {ROBOT_DIR}/{name}")[1].strip()
            if link != ("" if release is None else f"releases/{release.folder}"):
                found.append(f"{name} -> {link}, the journal says {release}")
        folders = set(self.shell(f"ls -A {ROBOT_DIR}/releases").split())
        if folders != {release.folder for release in kept_releases(journal)}:
            found.append(f"release folders {sorted(folders)}")
        environment = self.shell(f"cat {ROBOT_DIR}/current/.env")
        if f"'{current.image}'" not in environment:
            found.append(f"current/.env does not name {current.image}")
        kept = {release.image: release.version for release in kept_releases(journal)}
        gone = [image for image in kept if self.run(f"docker image inspect {image} > /dev/null")[0] != 0]
        return found + [f"the image of {kept[image]} is gone" for image in gone]

    def well(self) -> Attestation | None:
        """What it attests once it is well; None while it is not."""
        found = self.lab.ask_updater(self.name, "attest")
        if found is None:
            return None
        attestation = from_dict(Attestation, found)
        report = json.loads(attestation.report_json or "{}")
        return attestation if report.get("ready") and report.get("state") in ("ok", "degraded") else None

    # ── doing ──

    def shell(self, script: str, stdin: str = "") -> str:
        """Run a script that must end well; return what it printed."""
        code, said = self.run(script, stdin)
        assert code == 0, f"{self.name}: {script} ended with {code}: {said}"
        return said

    def run(self, script: str, stdin: str = "") -> tuple[int, str]:
        """Run a script that may be run again; return exit code and what it printed.

        A busy Engine may end a command before all that it said has come: then it is run once more.
        """
        whole = f"{{ {script}\n}} <<'{END}'\n{stdin}\n{END}\necho {END} $?"
        for _ in range(10):
            found = self.lab.exec(self.name, ["sh", "-c", whole], deadline_s=90)
            said, ended, code = found.stdout.rpartition(END)
            if ended and code.strip().isdigit():
                return int(code), said if int(code) == 0 else said + found.stderr
        raise AssertionError(f"{self.name}: {script} never came to its end: {found}")

    def until(self, what: str, done: Callable[[], Any]) -> Any:
        """Poll until ``done`` returns something."""
        ends = time.monotonic() + DEADLINE_S
        while True:
            found = done()
            if found:
                return found
            assert time.monotonic() < ends, f"{self.name}: {what} did not come within {DEADLINE_S:g} s: {self._looks()}"
            time.sleep(POLL_S)

    def _looks(self) -> str:
        return f"{self.state()}\n" + self.run(f"tail -n 5 {FOLDER}/log /var/log/jetfleet-lab/updater.log")[1]
