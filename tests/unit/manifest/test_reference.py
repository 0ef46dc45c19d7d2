"""The annotated reference is a valid manifest that shows every key, and the JSON Schema agrees with the loader."""

from __future__ import annotations

import re
import types
from pathlib import Path
from typing import Annotated, Any, Union, get_args, get_origin

import jsonschema
import pytest
from pydantic import BaseModel

from fleet.manifest.load import load_manifest
from fleet.manifest.reference import reference_documents, reference_text
from fleet.manifest.schema.json_schema import manifest_json_schema
from fleet.manifest.schema.manifest_schema import Manifest, Model, Profile, Robot, Settings
from fleet.manifest.yaml.yaml_text import parse_document
from tests.unit.manifest.texts import CASES_OF_FORM, FLEET, MODEL, PROFILE

ROOT = Path(__file__).resolve().parents[3]
KINDS: dict[str, type[BaseModel]] = {"fleet": Manifest, "profile": Profile, "model": Model}
ALTERNATIVES = {
    "url",
    "oci",
    "then",
    "dla_core",
    "rate",
    "unchanged",
    "max",
    "command",
    "file",
    "helper",
    "csv",
    "age",
    "tensors",
}
"""Shown as comments: a source and a secret have exactly one place, only velocity outputs have a command to fall back
to, the reference's module has no DLA, a model runs on frames or by time, an error has a max where an agreement has a
min, a decoder reads one tensor or several, a helper stands for user and password, and an inventory is in one place.
"""


@pytest.mark.parametrize("kind", KINDS)
def test_reference_is_valid(kind: str) -> None:
    document = parse_document(reference_documents()[kind].encode())
    assert document.flaws == ()
    KINDS[kind].model_validate(document.value, strict=True)


@pytest.mark.parametrize("kind", KINDS)
def test_reference_shows_every_key(kind: str) -> None:
    text = reference_documents()[kind]
    shown = _shown(KINDS[kind], parse_document(text.encode()).value)
    for owner, key in sorted(_declared(KINDS[kind])):
        if key in ALTERNATIVES:
            assert re.search(rf"^ *# {key}: ", text, re.MULTILINE), f"{owner}.{key} is not even a comment"
        else:
            assert (owner, key) in shown, f"{owner}.{key} is not in reference.yaml"


def test_every_line_of_the_reference_that_is_new_is_explained() -> None:
    bare = [line for line in reference_text().splitlines() if re.match(r"^\w+:", line) and "#" not in line]
    assert {line.split(":")[0] for line in bare} <= {
        "registry", "profiles", "defaults", "groups", "robots", "rollout", "name", "outputs", "precisions", "gates",
        "cuda", "models", "inventory", "hooks", "hub",
    }  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_json_schema_takes_the_reference(kind: str) -> None:
    _validator().validate(_json(parse_document(reference_documents()[kind].encode()).value))


@pytest.mark.parametrize("text", [FLEET, PROFILE, MODEL], ids=["fleet", "profile", "model"])
def test_json_schema_takes_what_loads(text: str) -> None:
    _validator().validate(_json(parse_document(text.encode()).value))


@pytest.mark.parametrize(("text", "old", "new"), CASES_OF_FORM)
def test_json_schema_refuses_wrong_form(text: str, old: str, new: str) -> None:
    assert old in text
    value = parse_document(text.replace(old, new, 1).encode()).value
    with pytest.raises(jsonschema.ValidationError):
        _validator().validate(_json(value))


def test_json_schema_is_itself_valid() -> None:
    jsonschema.Draft202012Validator.check_schema(manifest_json_schema())


def test_example_fleet_files_fit_the_schema() -> None:
    files = sorted((ROOT / "manifests").glob("**/*.yaml"))
    assert ROOT / "manifests" / "fleet.yaml" in files
    for file in files:
        _validator().validate(_json(parse_document(file.read_bytes()).value))


@pytest.mark.parametrize("file", sorted((ROOT / "manifests" / "profiles").glob("*.yaml")), ids=lambda file: file.stem)
def test_every_example_profile_loads(file: Path, tmp_path: Path) -> None:
    from tests.fakes.fleet_folder import write_fleet

    text = re.sub(r"^name: .*$", "name: sim-x86", file.read_text(encoding="utf-8"), flags=re.MULTILINE)
    assert load_manifest(write_fleet(tmp_path, profile_text=text)).profiles["sim-x86"].base_image


def _validator() -> jsonschema.Draft202012Validator:
    return jsonschema.Draft202012Validator(manifest_json_schema())


def _json(value: Any) -> Any:
    """Lists where YAML has lists."""
    if isinstance(value, dict):
        return {key: _json(item) for key, item in value.items()}
    return [_json(item) for item in value] if isinstance(value, tuple) else value


def _models_in(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    if get_origin(annotation) in (Annotated, Union, types.UnionType, tuple, dict):
        return [model for item in get_args(annotation) for model in _models_in(item)]
    return []


def _owner(kind: type[BaseModel], key: str) -> str:
    """A key inherited from Settings is one key, wherever it is written."""
    return "Settings" if issubclass(kind, Robot) and key in Settings.model_fields else kind.__name__


def _declared(kind: type[BaseModel]) -> set[tuple[str, str]]:
    found = {(_owner(kind, key), key) for key in _fields(kind)}
    for field in kind.model_fields.values():
        for model in _models_in(field.annotation):
            found |= _declared(model)
    return found


def _shown(kind: type[BaseModel], value: dict[str, Any]) -> set[tuple[str, str]]:
    found = {(_owner(kind, key), key) for key in value}
    for key, item in value.items():
        models = _models_in(_fields(kind)[key].annotation)
        for part in _parts(item) if models else ():
            model = models[0]
            nested = part if set(part) <= set(_fields(model)) else None
            for inner in [nested] if nested is not None else [v for v in part.values() if isinstance(v, dict)]:
                found |= _shown(model, inner)
    return found


def _fields(kind: type[BaseModel]) -> dict[str, Any]:
    """A type's fields by their keys in the file: `from` cannot be the name of a field in Python."""
    return {field.alias or name: field for name, field in kind.model_fields.items()}


def _parts(value: Any) -> list[dict[str, Any]]:
    if isinstance(value, dict):
        return [value]
    return [item for item in value if isinstance(item, dict)] if isinstance(value, tuple) else []
