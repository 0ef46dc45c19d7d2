"""JSON Schema of the three kinds of manifest files, for editors that complete and check YAML."""

from __future__ import annotations

from typing import Any

from pydantic.json_schema import models_json_schema

from fleet.manifest.schema.manifest_schema import Manifest, Model, Profile
from fleet.manifest.schema.values import DURATION_PATTERN, SHARE_PATTERN

DIALECT = "https://json-schema.org/draft/2020-12/schema"


def manifest_json_schema() -> dict[str, Any]:
    """Return one schema for fleet.yaml, profiles and models: which one a file is, its keys tell.

    It says what a file of the right form looks like. What needs other files (names, tensors, hashes) only
    `fleet validate` can check.
    """
    _, definitions = models_json_schema(
        [(Manifest, "validation"), (Profile, "validation"), (Model, "validation")], ref_template="#/$defs/{model}"
    )
    return {
        "$schema": DIALECT,
        "title": "Jetfleet manifest",
        "description": "fleet.yaml (has apiVersion), a device profile (has backend) or a model.",
        "type": "object",
        "if": {"required": ["apiVersion"]},
        "then": {"$ref": "#/$defs/Manifest"},
        "else": {
            "if": {"required": ["backend"]},
            "then": {"$ref": "#/$defs/Profile"},
            "else": {"$ref": "#/$defs/Model"},
        },
        "$defs": _as_written(definitions["$defs"]),
    }


def _as_written(schema: Any) -> Any:
    """Turn defaults into what a person would write: ``30s`` for 30.0 seconds, ``95%`` for 0.95; drop empty ones."""
    if isinstance(schema, list):
        return [_as_written(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    result = {key: _as_written(value) for key, value in schema.items()}
    default = result.get("default")
    if result.get("pattern") == DURATION_PATTERN and isinstance(default, float):
        result["default"] = f"{default:g}s"
    elif result.get("pattern") == SHARE_PATTERN and isinstance(default, float):
        result["default"] = f"{default * 100:g}%"
    elif isinstance(default, dict):
        del result["default"]
    return result
