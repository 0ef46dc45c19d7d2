"""Which verbs there are, without importing them: `fleet --help` needs no YAML, SSH or registry client."""

from __future__ import annotations

import importlib
from typing import Any

import typer
from typer.core import TyperGroup

#: Verb → (module of `fleet.cli.commands`, the line of `fleet --help`, which a test holds against the verb's own).
VERBS = {
    "init": ("init", "Write a manifest to start from. Never overwrites a file."),
    "validate": ("validate", "Check the manifest and every file that it names; show a summary."),
    "doctor": (
        "device.doctor",
        "Say everything that is missing on a robot's host, and the command for each. Changes nothing.",
    ),
    "profiles": ("device.profiles", "Device profiles that travel with fleet: list, show, add to a manifest."),
    "plan": ("plan", "Show what is missing for the fleet to run what the manifest declares."),
    "build": ("build", "Build the engines that the registry lacks, for the whole manifest or for some of its robots."),
    "images": ("images", "Builder and runtime images: render them for review, build them."),
    "engine": ("engine.group", "One model on the machine at hand: build, inspect, measure, run, compare, tune."),
    "publish": (
        "publish",
        "Assemble the images that the registry lacks, and publish the manifest's version. Safe to run again.",
    ),
    "rollout": (
        "rollout",
        "Roll out a release: the plan is shown and confirmed; every robot proves what it runs, or reverts.",
    ),
    "rollback": (
        "rollback",
        "Go back to an earlier release. A release that failed on a robot stays refused there.",
    ),
    "status": ("status", "Ask every robot what really runs on it, now."),
    "hub": (
        "hub",
        "Keep signed reports of robots and give them to readers. It holds no key and gives no orders.",
    ),
    "verify": (
        "verify",
        "Have robots check themselves: engine files, sensors, models, inference, published results. Changes nothing.",
    ),
    "history": ("history", "Show rollouts and rollbacks, newest first, and the published versions."),
    "diff": ("diff", "Show, robot by robot, what changes from one version to another."),
    "bootstrap": (
        "bootstrap",
        "Pin each robot's host key, check its host, install the updater and wait until it answers.",
    ),
    "enroll": (
        "enroll",
        "Write a bundle that makes a machine a robot without SSH; accept, list and retire robots by their host keys.",
    ),
    "logs": ("logs", "Show the log of a robot's runtime container."),
    "exec": ("execute", "Run a command on robots; arguments are passed as they are, without a shell's expansion."),
    "docs": ("docs", "Print the annotated manifest reference, or the JSON Schema for editors."),
    "ci": ("ci", "CI, driven by what the registry lacks."),
    "keys": ("keys.group", "Who signs: list them, sign roots and releases, verify, bring the root to robots."),
    "registry": ("registry", "The registry: the repositories that a fleet needs."),
    "lock": ("lock", "The rollout lock: one rollout of a fleet at a time."),
}


class Stopped(BaseException):
    """KeyboardInterrupt, past Typer: that would turn it into exit code 130 without a word."""


class LazyVerbs(TyperGroup):
    """Lists verbs by their stubs, and imports the one that is run."""

    def invoke(self, ctx: Any) -> Any:
        """Run the verb. Raises Stopped on Ctrl-C."""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt as error:
            raise Stopped from error

    def resolve_command(self, ctx: Any, args: list[str]) -> tuple[str | None, Any, list[str]]:
        """Return the real command behind the first of ``args``. A wrong one is a usage error, with what is near."""
        name, stub, rest = super().resolve_command(ctx, args)
        return name, None if name is None or stub is None else load(name), rest


def load(verb: str) -> Any:
    """Import a verb and return its command."""
    module = importlib.import_module(f"fleet.cli.commands.{VERBS[verb][0]}")
    command: Any
    if hasattr(module, "app"):
        command = typer.main.get_group(module.app)
    else:
        app = typer.Typer(add_completion=False, rich_markup_mode="rich")
        # What stands after the command of `exec` is the command's own.
        settings = {"allow_interspersed_args": False} if verb == "exec" else {}
        app.command(name=verb, context_settings=settings)(module.run)
        command = typer.main.get_command(app)
    command.name = verb
    return command


def add_stubs(app: typer.Typer) -> None:
    """Make every verb known to ``app`` (of class LazyVerbs), by name and help only."""
    for name, (_, line) in VERBS.items():
        app.command(name=name, help=line)(_stub)


def _stub() -> None:
    raise AssertionError("a stub is replaced before it runs")
