"""The whole road in a box, told step by step: `make demo`.

Every command shown is really run, and every claim of the text is checked: the script ends with exit code 1 at the first
thing that is not as told. It can be run again; engines, images and releases that the registry has are used.
"""

from __future__ import annotations

import hashlib
import json
import os
import shlex
import shutil
import subprocess
import sys
import textwrap
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

import yaml
from fleetbox.spec import LabSpec
from rich.console import Console
from rich.panel import Panel
from rich.table import Table

ROOT = Path(__file__).resolve().parents[2]
WORK = ROOT / ".lab" / "demo"
MANIFESTS = WORK / "manifests"
FLEET = ROOT / ".venv" / "bin" / "fleet"
RUNTIME = "docker ps --all --quiet --no-trunc --filter label=com.docker.compose.service=runtime"
WELL_WITHIN_S = 90.0

console = Console(highlight=False, soft_wrap=True, width=None if sys.stdout.isatty() else 120)


def main() -> int:
    """Tell the story; return the exit code."""
    story = Story()
    story.prepare()
    story.first_release()
    story.watch()
    story.one_robot_goes_int8()
    story.a_bad_release()
    story.back_to_the_start()
    story.summary()
    return 0


class Story:
    """The demo's steps, with the time that each took."""

    def __init__(self) -> None:
        self.times: list[tuple[str, float]] = []
        self.containers: dict[str, str] = {}

    # ── steps ────────────────────────────────────────────────────────────────────────────────────────────────────

    def prepare(self) -> None:
        """A fresh copy of the example fleet, and robots as they come from the box."""
        say(
            "A fleet in a box",
            "A registry and three robots run on this machine: containers with their own SSH server, their own Docker "
            "Engine and a camera that publishes 640×480 images on ROS 2. The manifest in manifests/ declares what "
            "they run. First the robots are made as new: no updater, nothing running.",
        )
        with self.timed("robots made as new"):
            quiet([sys.executable, str(ROOT / "compose" / "lab" / "lab.py"), "fresh"])
        shutil.rmtree(WORK, ignore_errors=True)
        shutil.copytree(ROOT / "manifests", MANIFESTS)
        (MANIFESTS / "known_hosts").unlink(missing_ok=True)
        move_in()
        with self.timed("bootstrap of 3 robots"):
            fleet("validate")
            fleet("bootstrap", "--privileged-login")

    def first_release(self) -> None:
        """1.0.0: build, publish, roll out."""
        say(
            "1.0.0: from the manifest to three robots",
            "Two AMRs run the sign detector at fp32, the scout at fp16: three robots of two variants are two engines. "
            "Each is built in a builder container, measured against fp32 and pushed under its key. Then one image a "
            "variant is assembled in the registry, and the release goes out: one robot first, then the rest.",
        )
        fleet("plan", codes=(0,))
        with self.timed("1.0.0 engines built"):
            fleet("build")
        with self.timed("1.0.0 published"):
            fleet("publish")
        with self.timed("1.0.0 rolled out"):
            fleet("rollout", "--yes")
        with self.timed("status"):
            fleet("status")
        self.expect_release({"amr-001": "1.0.0", "amr-002": "1.0.0", "scout-001": "1.0.0"})
        self.containers = self.container_ids()

    def watch(self) -> None:
        """Detections, from a robot."""
        say("What a robot sees", "Detections of the scout's camera, read from its ROS 2 topic inside its container.")
        echo = "python3 -m runtime.executor.checks.echo /jetfleet/sign_text/text --count 2"
        fleet("exec", "--robots", "scout-001", "--", "sh", "-c", f"docker exec $({RUNTIME}) {echo}")

    def one_robot_goes_int8(self) -> None:
        """1.1.0: only what changed is built and pulled."""
        say(
            "1.1.0: the scout goes int8",
            "One word changes in the manifest. The plan shows what follows from it: one engine to build, one robot to "
            "update. The AMRs' image is the same to the bit, so they pull nothing and keep their containers.",
        )
        edit(lambda manifest: manifest["groups"]["scout"]["models"][0].update(precision="int8"), version="1.1.0")
        fleet("plan")
        with self.timed("1.1.0 built and published"):
            fleet("build")
            fleet("publish")
        show_command("rollout", "--yes", "--json")
        with self.timed("1.1.0 rolled out"):
            result = fleet_json("rollout", "--yes")
        after = self.container_ids()
        rows = Table("robot", "outcome", "pulled", "container", box=None, pad_edge=False)
        for robot in result["robots"]:
            name = robot["name"]
            kept = "the same" if after[name] == self.containers[name] else "new"
            rows.add_row(name, robot["outcome"], f"{robot['fetched_bytes']} bytes", kept)
        console.print(rows)
        for robot in result["robots"]:
            if robot["name"].startswith("amr"):
                expect(robot["fetched_bytes"] == 0, f"{robot['name']} pulled {robot['fetched_bytes']} bytes, not 0")
                expect(after[robot["name"]] == self.containers[robot["name"]], f"{robot['name']} lost its container")
        expect(after["scout-001"] != self.containers["scout-001"], "scout-001 kept its old container")
        self.expect_release({"amr-001": "1.1.0", "amr-002": "1.1.0", "scout-001": "1.1.0"})
        self.containers = after

    def a_bad_release(self) -> None:
        """1.2.0: stopped and reverted on the first robot."""
        say(
            "1.2.0: a bad model, in a hurry",
            "The model was retrained badly, and the new manifest waives the build's accuracy gate in the manifest. "
            "The robot's own "
            "self-test on golden images can't be waived: the first robot refuses it, reverts to 1.1.0 by itself, and "
            "the rollout stops there. Expected exit code: 4.",
        )
        spoil()
        edit(lambda _: None, version="1.2.0")
        with self.timed("1.2.0 built and published"):
            fleet("build")
            fleet("publish")
        with self.timed("1.2.0 stopped and reverted"):
            fleet("rollout", "--yes", codes=(4,))
        fleet("status", codes=(0,))
        self.expect_release({"amr-001": "1.1.0", "amr-002": "1.1.0", "scout-001": "1.1.0"})

    def back_to_the_start(self) -> None:
        """Rollback to 1.0.0, and the history of it all."""
        say("Back to 1.0.0", "Any published version can be rolled back to; its images are on the robots already.")
        with self.timed("rolled back to 1.0.0"):
            fleet("rollback", "1.0.0", "--yes")
        fleet("status")
        self.expect_release({"amr-001": "1.0.0", "amr-002": "1.0.0", "scout-001": "1.0.0"})
        fleet("history")

    def summary(self) -> None:
        """What it all took."""
        rows = Table("step", "seconds", box=None, pad_edge=False, title="What it took", title_justify="left")
        rows.columns[1].justify = "right"
        for name, seconds in self.times:
            rows.add_row(name, f"{seconds:.1f}")
        rows.add_row("[bold]all[/]", f"[bold]{sum(seconds for _, seconds in self.times):.1f}[/]")
        console.print(rows)
        console.print(
            f"\nThe fleet still runs. Look around:  [bold]{short(FLEET)} -m {short(MANIFESTS)} status[/]   "
            "take it down:  [bold]make lab-down[/]"
        )

    # ── checks ───────────────────────────────────────────────────────────────────────────────────────────────────

    def timed(self, name: str) -> Timer:
        """Time a block under ``name``."""
        return Timer(name, self.times)

    def expect_release(self, wanted: dict[str, str]) -> None:
        """Fail unless every robot attests the version that is wanted, and is well before long.

        A busy machine may slow a camera for a moment, which a robot tells as degraded.
        """
        ends = time.monotonic() + WELL_WITHIN_S
        while True:
            robots = {robot["name"]: robot for robot in fleet_json("status")["robots"]}
            for name, version in wanted.items():
                expect(robots[name]["release"] == version, f"{name} runs {robots[name]['release']}, not {version}")
            unwell = {name: robots[name]["checks"] for name in wanted if robots[name]["health"] != "ok"}
            if not unwell:
                return
            expect(time.monotonic() < ends, f"not well within {WELL_WITHIN_S:g} s: {unwell}")

    def container_ids(self) -> dict[str, str]:
        """Return the id of each robot's runtime container, asked of its Engine."""
        result = fleet_json("exec", "--", *RUNTIME.split())
        return {robot["name"]: robot["stdout"].strip() for robot in result["robots"]}


class Timer:
    """Context manager that appends (name, seconds) to a list."""

    def __init__(self, name: str, into: list[tuple[str, float]]) -> None:
        self.name, self.into, self.start = name, into, 0.0

    def __enter__(self) -> None:
        self.start = time.monotonic()

    def __exit__(self, *_: object) -> None:
        self.into.append((self.name, time.monotonic() - self.start))


def say(title: str, text: str) -> None:
    """Print a step's heading."""
    console.print()
    width = min(console.width, 110)
    console.print(Panel(textwrap.fill(text, width - 4), title=f"[bold]{title}[/]", title_align="left", width=width))


def short(path: Path) -> str:
    """Return a path relative to where the user is, if it is below."""
    try:
        return str(path.relative_to(Path.cwd()))
    except ValueError:
        return str(path)


def show_command(*arguments: str) -> None:
    """Print a command as a person types it."""
    console.print()
    console.print("[bold green]$[/] ", end="")
    console.print(f"fleet {shlex.join(arguments)}", style="bold", markup=False)
    sys.stdout.flush()


def fleet(*arguments: str, codes: Sequence[int] = (0,)) -> None:
    """Run and show one command of the product."""
    show_command(*arguments)
    result = subprocess.run([str(FLEET), *arguments], env=environment(), check=False)
    expect(
        result.returncode in codes,
        f"fleet {arguments[0]} ended with exit code {result.returncode}, not {' or '.join(map(str, codes))}",
    )
    if codes != (0,):
        console.print(f"[dim](exit code {result.returncode}, as expected)[/]")


def fleet_json(*arguments: str) -> Any:
    """Run one command of the product for its JSON."""
    at = arguments.index("--") if "--" in arguments else len(arguments)
    command = [str(FLEET), *arguments[:at], "--json", *arguments[at:]]
    result = subprocess.run(command, env=environment(), check=False, stdout=subprocess.PIPE, text=True)
    expect(result.returncode == 0, f"fleet {arguments[0]} ended with exit code {result.returncode}: {result.stdout}")
    return json.loads(result.stdout)


def environment() -> dict[str, str]:
    """Return the environment of the demo's commands: its copy of the manifest is the default."""
    return {**os.environ, "FLEET_MANIFEST": str(MANIFESTS)}


def quiet(command: list[str]) -> None:
    """Run a command of the lab; show its output only when it fails."""
    result = subprocess.run(command, check=False, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    expect(result.returncode == 0, f"{shlex.join(command)} failed:\n{result.stdout}")


def move_in() -> None:
    """Let the copy of the manifest name this lab: its key file, and its subnet where it is not the usual one."""
    spec = LabSpec.from_environment()
    path = MANIFESTS / "fleet.yaml"
    text = path.read_text(encoding="utf-8").replace("../.lab/id_ed25519", str(spec.key))
    path.write_text(text.replace("172.30.77.", spec.address(0).rpartition(".")[0] + "."), encoding="utf-8")


def edit(change: Any, *, version: str) -> None:
    """Change the demo's fleet.yaml as a person would, and raise its version."""
    path = MANIFESTS / "fleet.yaml"
    manifest = yaml.safe_load(path.read_text(encoding="utf-8"))
    change(manifest)
    manifest["version"] = version
    path.write_text(yaml.safe_dump(manifest, sort_keys=False, default_flow_style=None, width=110), encoding="utf-8")
    console.print(f"[dim]edited {short(path)}: version {version}[/]")


def spoil() -> None:
    """Replace the model by one whose weights are wrong, and waive the build's gate."""
    models = MANIFESTS / "models"
    good, bad = models / "onnx" / "sign_text.onnx", models / "onnx" / "sign_text_retrained.onnx"
    quiet([sys.executable, str(models / "spoil_model.py"), str(good), str(bad)])
    path = models / "sign_text.yaml"
    model = yaml.safe_load(path.read_text(encoding="utf-8"))
    model["source"] = {"path": f"onnx/{bad.name}", "sha256": hashlib.sha256(bad.read_bytes()).hexdigest()}
    model["gates"]["waive_build_accuracy"] = "hotfix before the weekend"
    path.write_text(yaml.safe_dump(model, sort_keys=False, default_flow_style=None, width=110), encoding="utf-8")
    console.print(f"[dim]edited {short(path)}: another model file, gates.waive_build_accuracy[/]")


def expect(condition: bool, otherwise: str) -> None:
    """End the demo when something is not as told."""
    if not condition:
        fail(otherwise)


def fail(reason: str) -> NoReturn:
    """Say what is not as told and leave."""
    console.print(f"\n[bold red]The demo stopped:[/] {reason}")
    sys.exit(1)


if __name__ == "__main__":
    sys.exit(main())
