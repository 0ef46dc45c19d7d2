"""Load a manifest: fleet.yaml with its profiles and models, checked against each other and against their data.

Reads files, never the network; an inventory that is a command is run. Every problem of every file is raised at once.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Generic, TypeVar

from fleet.errors import ManifestError, Problem
from fleet.manifest.checks.check_data import check_data
from fleet.manifest.checks.check_fleet import check_fleet
from fleet.manifest.checks.check_input import check_chains
from fleet.manifest.checks.check_model import check_model
from fleet.manifest.checks.check_profile import check_profile
from fleet.manifest.checks.check_pull import check_pull
from fleet.manifest.checks.check_registry import check_registry
from fleet.manifest.checks.check_trust import check_trust
from fleet.manifest.checks.resolve_labels import resolve_labels
from fleet.manifest.draft import Draft, draft_from
from fleet.manifest.files.named_files import inside, why_no_file
from fleet.manifest.inventory import with_inventory
from fleet.manifest.schema.manifest_schema import Manifest, Model, Profile
from fleet.manifest.yaml.report import Report, SourceFile
from fleet.manifest.yaml.yaml_text import KeyPath

FLEET_FILE = "fleet.yaml"

T = TypeVar("T", Profile, Model)


@dataclass(frozen=True)
class LoadedManifest:
    """A valid manifest with everything that it names."""

    manifest: Manifest
    profiles: Mapping[str, Profile]
    models: Mapping[str, Model]
    root: Path
    """Folder of fleet.yaml; paths of fleet.yaml are relative to it."""
    model_files: Mapping[str, Path]
    """Model name → its YAML file; paths of a model are relative to that file's folder."""
    source: SourceFile = field(repr=False, compare=False)

    def where(self, path: KeyPath) -> tuple[str, int]:
        """Return file and line (1-based) of a key of fleet.yaml: ``("robots", 3, "host")``."""
        return self.source.locate(path)[:2]


def load_manifest(path: Path) -> LoadedManifest:
    """Load ``path``: a folder with fleet.yaml, or the file itself. Raises ManifestError with every problem."""
    file = path / FLEET_FILE if why_no_file(path) == "is a folder" else path
    if why := why_no_file(file):
        hint = "give the folder with fleet.yaml, or the file (-m); `fleet init` writes a first one"
        raise ManifestError([Problem(str(file), 0, "", f"the manifest {why}", hint)])
    report = Report()
    source = report.read(file, str(file))
    if source is None:
        report.raise_if_any()
        raise AssertionError("unreachable: a file that cannot be used is a problem")
    draft = with_inventory(draft_from(source, report), source, report)
    profiles = _load_all(Profile, "profiles", draft.profiles, source, report)
    models = _with_labels(_load_all(Model, "models", draft.models, source, report), source, report)
    _check(draft, profiles, models, source, report)
    report.raise_if_any()
    if draft.manifest is None:
        raise AssertionError("unreachable: a manifest that does not parse is a problem")
    return LoadedManifest(
        manifest=draft.manifest,
        profiles={item.value.name: item.value for item in profiles if item.value},
        models={item.value.name: item.value for item in models if item.value},
        root=file.parent,
        model_files={item.name: item.path for item in models},
        source=source,
    )


def load_profile(path: Path) -> Profile:
    """Load one profile's file by itself. Raises ManifestError with every problem of it."""
    report = Report()
    if why := why_no_file(path):
        raise ManifestError([Problem(str(path), 0, "", f"the profile {why}", "give the path of a profile's YAML file")])
    item = _load_one(Profile, path, report)
    if item is not None and item.value is not None:
        check_profile(item.value, item.source, report)
    report.raise_if_any()
    if item is None or item.value is None:
        raise AssertionError("unreachable: a profile that does not parse is a problem")
    return item.value


@dataclass(frozen=True)
class _Loaded(Generic[T]):
    """One profile or model file. ``value`` is None when the file is too broken to be checked further."""

    name: str
    path: Path
    source: SourceFile
    value: T | None


def _check(
    draft: Draft,
    profiles: list[_Loaded[Profile]],
    models: list[_Loaded[Model]],
    source: SourceFile,
    report: Report,
) -> None:
    known_profiles = {item.name: item.value for item in profiles}
    for profile in profiles:
        if profile.value is not None:
            check_profile(profile.value, profile.source, report)
    for model in models:
        if model.value is not None:
            check_model(model.value, known_profiles, model.source, report)
            check_data(model.value, source_root(source), model.path.parent, model.source, report)
    known_models = {item.name: item.value for item in models}
    if len(models) == len(
        draft.models
    ):  # otherwise a name that seems unknown may be that of a file that cannot be read
        check_chains(known_models, {item.name: item.source for item in models}, report)
    check_fleet(draft, known_profiles, known_models, source, report, source_root(source))
    if draft.registry is not None:
        check_registry(draft.registry, source_root(source), source, report)
    if draft.trust is not None:
        check_trust(draft.trust, source_root(source), source, report)
    check_pull(draft, source_root(source), source, report)


def _with_labels(models: list[_Loaded[Model]], source: SourceFile, report: Report) -> list[_Loaded[Model]]:
    """Return the models with the class names of files and metadata in their place."""
    root = source_root(source)
    return [
        replace(item, value=resolve_labels(item.value, root, item.path.parent, item.source, report))
        if item.value is not None
        else item
        for item in models
    ]


def source_root(source: SourceFile) -> Path:
    """Return the folder of fleet.yaml."""
    return Path(source.shown).parent


def _load_all(kind: type[T], key: str, names: Mapping[int, str], fleet: SourceFile, report: Report) -> list[_Loaded[T]]:
    root = source_root(fleet)
    loaded: list[_Loaded[T]] = []
    files: dict[Path, int] = {}
    owners: dict[str, str] = {}
    for index, name in names.items():
        path = _file(name, (key, index), root, fleet, report)
        if path is None:
            continue
        if path in files:
            report.add(fleet, (key, index), f"{name} is named twice", f"{key}/{files[path]} names it already")
            continue
        files[path] = index
        item = _load_one(kind, path, report)
        if item is None:
            continue
        if item.name in owners:
            hint = f"rename one of them: {owners[item.name]} has the name already"
            report.add(item.source, ("name",), f"two {key} are called {item.name}", hint)
            continue
        owners[item.name] = item.source.shown
        loaded.append(item)
    return loaded


def _file(name: str, path: KeyPath, root: Path, fleet: SourceFile, report: Report) -> Path | None:
    file = inside(root, root, name)
    if file is None:
        hint = "move the file below the folder of fleet.yaml: that folder is what is reviewed and copied"
        report.add(fleet, path, f"{name} is outside of the manifest's folder", hint)
    elif why := why_no_file(file):
        report.add(fleet, path, f"{file} {why}", "name a YAML file, relative to fleet.yaml")
        return None
    return file


def _load_one(kind: type[T], path: Path, report: Report) -> _Loaded[T] | None:
    source = report.read(path, str(path))
    if source is None:
        return None
    value = report.parse(kind, source)
    name = source.document.value.get("name")
    return _Loaded(name, path, source, value) if isinstance(name, str) else None
