"""`fleet docs`: the manual that is always of this version."""

from __future__ import annotations

import json
from enum import Enum
from typing import Annotated

import typer

from fleet.cli import options
from fleet.cli.ui.console import emit, write
from fleet.manifest.reference import reference_text
from fleet.manifest.schema.json_schema import manifest_json_schema


class Topic(str, Enum):
    """What there is a manual of."""

    MANIFEST = "manifest"
    SCHEMA = "schema"


def run(
    topic: Annotated[Topic, typer.Argument(help="manifest: every key explained; schema: JSON Schema.")],
    as_json: options.Json = False,
) -> None:
    """Print the annotated manifest reference, or the JSON Schema for editors."""
    schema = topic is Topic.SCHEMA
    if as_json:
        emit(
            True, manifest_json_schema() if schema else {"topic": topic.value, "text": reference_text()}, lambda _: None
        )
    else:
        write(json.dumps(manifest_json_schema(), indent=2) + "\n" if schema else reference_text())
