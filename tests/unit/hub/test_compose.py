"""The hub's compose file names options and extras that exist."""

from __future__ import annotations

from pathlib import Path

import typer
import yaml

from fleet.cli.verbs import load

ROOT = Path(__file__).resolve().parents[3]


def test_every_option_of_the_compose_file_is_one_of_the_verb() -> None:
    services = yaml.safe_load((ROOT / "compose" / "hub.compose.yaml").read_text(encoding="utf-8"))["services"]
    command: typer.core.TyperCommand = load("hub")
    known = {option for parameter in command.params for option in parameter.opts}
    given = {word.partition("=")[0] for word in services["hub"]["command"]}
    assert given <= known
    assert len(given) >= 5
