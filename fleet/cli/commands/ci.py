"""`fleet ci`: what the registry lacks, as work for a CI system; and one piece of that work."""

from __future__ import annotations

import json
from typing import Annotated, Any

import typer
from rich.console import Console

from fleet.cli import options
from fleet.cli.base_image import publish_base
from fleet.cli.commands.build import build_missing, engine_document
from fleet.cli.provenance import builders_of
from fleet.cli.runners import allowed_labels, runner_of
from fleet.cli.ui.activity import Activity, activity
from fleet.cli.ui.console import emit, short, table, write
from fleet.cli.wiring import Wiring
from fleet.errors import UsageError
from fleet.plan.diff import runtime_recipes
from fleet.publish.lookup import look_up
from fleet.resolve.builds import base_build, engine_build
from fleet.resolve.desired import Desired, EngineSpec, Recipe
from fleet.signing.provenance import Build

app = typer.Typer(help="CI, driven by what the registry lacks.", no_args_is_help=True)

MIN_KEY_DIGITS = 12
"""Hex digits of an engine key that name it on a command line: what other verbs print."""


@app.command("plan")
def plan(
    manifest: options.ManifestOption = options.DEFAULT_MANIFEST,
    github: Annotated[bool, typer.Option("--github", help="Lines for $GITHUB_OUTPUT: engines=…, build=…")] = False,
    runners: Annotated[
        str | None,
        typer.Option(
            "--runners",
            envvar="FLEET_RUNNERS",
            help="Labels of runners that may build, comma-separated. Default: the profiles that come with Jetfleet.",
        ),
    ] = None,
    as_json: options.Json = False,
) -> None:
    """Print the engines and images that the registry lacks. Asks the registry only."""
    wiring = Wiring(manifest)
    allowed = allowed_labels(runners)
    for profile in dict.fromkeys(spec.profile.name for spec in wiring.desired.engines.values()):
        runner_of(profile, allowed)  # before anything is asked or printed
    with activity() as shown:
        shown.update("registry", f"asking {wiring.desired.registry.host}")
        facts = look_up(wiring.registry, wiring.desired, builders_of(wiring))
    engines = [wiring.desired.engines[key] for key in facts.missing_engines()]
    missing = set(facts.missing_bases())
    bases = [recipe for recipe in runtime_recipes(wiring.desired) if recipe.tag in missing]
    document = {
        "fleet": wiring.desired.fleet,
        "version": wiring.desired.version,
        "published": facts.release is not None,
        "engines": [_work(spec, allowed) for spec in engines],
        "images": [_image_work(recipe, allowed) for recipe in bases],
        "matrix": matrix(engines, bases, allowed),
    }
    if github:
        write(github_output(engines, bases, allowed))
        return
    emit(as_json, document, lambda console: _render(console, document))


@app.command("build")
def build(
    key: Annotated[str, typer.Option("--key", help="An engine key, its first 12 digits, or the tag of an image.")],
    manifest: options.ManifestOption = options.DEFAULT_MANIFEST,
    as_json: options.Json = False,
) -> None:
    """Build one engine or runtime base image and push it. Done already is success."""
    wiring = Wiring(manifest)
    work = find_work(wiring.desired, key)
    with activity() as shown:
        document = (
            _build_engine(wiring, work, shown) if isinstance(work, EngineSpec) else _build_image(wiring, work, shown)
        )
    emit(as_json, document, lambda console: console.print(f"{document['what']}: {document['done']}"))


def matrix(
    engines: list[EngineSpec], bases: list[Recipe], allowed: frozenset[str] | None = None
) -> dict[str, list[dict[str, Any]]]:
    """Return the missing work as a GitHub Actions matrix: one job each, on a runner of its profile.

    ``allowed``: see `fleet.cli.runners.runner_of`. Raises UsageError.
    """
    return {"include": [_work(spec, allowed) for spec in engines] + [_image_work(recipe, allowed) for recipe in bases]}


def github_output(engines: list[EngineSpec], bases: list[Recipe], allowed: frozenset[str] | None = None) -> str:
    """Return what a step appends to ``$GITHUB_OUTPUT``. An empty matrix is an error there, hence ``build``."""
    work = matrix(engines, bases, allowed)
    return f"engines={json.dumps(work, separators=(',', ':'))}\nbuild={'true' if work['include'] else 'false'}\n"


def find_work(desired: Desired, key: str) -> EngineSpec | Recipe:
    """Return what ``key`` names in this manifest. Raises UsageError."""
    digits = key.removeprefix("sha256:")
    found = [spec for spec in desired.engines.values() if spec.tag.startswith(digits)]
    if len(found) == 1 and len(digits) >= MIN_KEY_DIGITS:
        return found[0]
    for recipe in runtime_recipes(desired):
        if recipe.tag == key:
            return recipe
    known = [f"{short(spec.key)} ({spec.model} {spec.precision})" for spec in desired.engines.values()]
    raise UsageError(
        f"this manifest has no engine or image {key!r}; it has {', '.join(known[:8])}",
        hint="fleet ci plan prints the keys; was the manifest changed since?",
    )


def _build_engine(wiring: Wiring, spec: EngineSpec, shown: Activity) -> dict[str, Any]:
    what = f"{spec.model} {spec.precision} for {spec.profile.name}"
    if _there(wiring, "engines", spec.tag, engine_build(spec)):
        return {"what": what, "key": spec.key, "done": "in the registry already"}
    summary = build_missing(wiring, [spec], shown)
    error = summary.error()
    if error is not None:
        raise error
    return {"what": what, "key": spec.key, "done": "built and pushed", "engine": engine_document(summary.built[0])}


def _build_image(wiring: Wiring, recipe: Recipe, shown: Activity) -> dict[str, Any]:
    what = f"{recipe.kind} image for {recipe.profile.name}"
    digest = _there(wiring, "bases", recipe.tag, base_build(recipe))
    if digest:
        return {"what": what, "key": recipe.tag, "done": "in the registry already", "digest": digest}
    return {"what": what, "key": recipe.tag, "done": "built and pushed", "digest": publish_base(wiring, recipe, shown)}


def _there(wiring: Wiring, room: str, tag: str, build: Build) -> str | None:
    """Return the digest of what the registry has already and, in a signed fleet, a builder attests."""
    repository = f"{wiring.desired.registry.prefix}/{room}"
    digest = wiring.registry.head_manifest(repository, tag)
    builders = builders_of(wiring)
    if digest is None or builders is None:
        return digest
    return None if builders.judge(repository, [(digest, build)])[0].problem else digest


def _work(spec: EngineSpec, allowed: frozenset[str] | None) -> dict[str, Any]:
    return {
        "key": spec.key,
        "model": spec.model,
        "precision": spec.precision,
        "profile": spec.profile.name,
        "runs_on": runner_of(spec.profile.name, allowed),
    }


def _image_work(recipe: Recipe, allowed: frozenset[str] | None) -> dict[str, Any]:
    return {
        "key": recipe.tag,
        "profile": recipe.profile.name,
        "runs_on": runner_of(recipe.profile.name, allowed),
    }


def _render(console: Console, document: dict[str, Any]) -> None:
    rows = table("missing", "for", "key")
    for each in document["engines"]:
        rows.add_row(f"engine {each['model']} {each['precision']}", each["profile"], each["key"])
    for each in document["images"]:
        rows.add_row("runtime base image", each["profile"], each["key"])
    if rows.row_count:
        console.print(rows)
    else:
        console.print("The registry lacks nothing.")
    console.print(f"version {document['version']} is {'published' if document['published'] else 'not published yet'}")
