"""`fleet images`: the builder and runtime images of profiles, to look at and to build."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Sequence
from enum import Enum
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from fleet.build.image import BaseImage, ensure_base
from fleet.build.wheels import fetch_wheels
from fleet.cli import options
from fleet.cli.ui.activity import activity
from fleet.cli.ui.console import Stopwatch, conclude, emit, error_document, short, table, write
from fleet.cli.wiring import Wiring
from fleet.errors import FleetError, UsageError
from fleet.manifest.load import load_profile
from fleet.manifest.schema.manifest_schema import Profile
from fleet.manifest.yaml.explain import did_you_mean
from fleet.resolve.desired import Recipe
from fleet.resolve.images.recipe import KINDS, recipe_for

app = typer.Typer(help="Builder and runtime images: render them for review, build them.", no_args_is_help=True)

DOCKERFILE = "Dockerfile"


class Kind(str, Enum):
    """Which image of a profile."""

    BUILDER = "builder"
    RUNTIME = "runtime"


ProfileName = Annotated[
    str | None,
    typer.Option(
        "--profile", help="A profile of the manifest, or a profile's YAML file. Default: all of the manifest."
    ),
]
KindName = Annotated[Kind | None, typer.Option("--kind", help="Default: both.")]


@app.command("render")
def render(
    manifest: options.ManifestOption = options.DEFAULT_MANIFEST,
    profile: ProfileName = None,
    kind: KindName = None,
    out: Annotated[
        Path | None, typer.Option("--out", help="Write the build contexts below this folder, one folder an image.")
    ] = None,
    as_json: options.Json = False,
) -> None:
    """Show how images are built: the Dockerfiles, or with --out everything but the wheels. Touches no network."""
    recipes = _recipes(Wiring(manifest), profile, kind)
    folders = {recipe.tag: _write(recipe, out) for recipe in recipes} if out is not None else {}
    document = {"images": [{**_document(recipe), "folder": folders.get(recipe.tag)} for recipe in recipes]}
    if out is None and not as_json:
        for recipe in recipes:
            write(f"# ══ {recipe.tag}\n{recipe.files[DOCKERFILE].decode()}\n")
        return
    emit(as_json, document, lambda console: _render_table(console, document))


@app.command("build")
def build(
    manifest: options.ManifestOption = options.DEFAULT_MANIFEST,
    profile: ProfileName = None,
    kind: KindName = None,
    as_json: options.Json = False,
) -> None:
    """Build the images that are missing on the profiles' builders. `fleet build` and `publish` do it by themselves."""
    wiring = Wiring(manifest)
    watch = Stopwatch()
    recipes = _recipes(wiring, profile, kind)
    built, failed = _build_all(wiring, recipes)
    document = {
        "images": [
            {**_document(image.recipe), "how": image.how, "seconds": round(image.seconds, 1)} for image in built
        ],
        "failed": [{**_document(recipe), "error": error_document(error)} for recipe, error in failed],
        "seconds": round(watch.seconds, 1),
    }
    error = failed[0][1] if failed else None
    conclude(as_json, document, lambda console: _render_table(console, document), error)


def _build_all(wiring: Wiring, recipes: Sequence[Recipe]) -> tuple[list[BaseImage], list[tuple[Recipe, FleetError]]]:
    """Build one after another: one that cannot be built does not stop the others."""
    built: list[BaseImage] = []
    failed: list[tuple[Recipe, FleetError]] = []
    with activity() as shown:
        for recipe in recipes:
            name = f"{recipe.kind} image for {recipe.profile.name}"

            def log(line: str, tag: str = recipe.tag, name: str = name) -> None:
                shown.update(tag, f"{name}: {line[:100]}")

            try:
                image = ensure_base(wiring.host_of(recipe.profile), recipe, wheels=fetch_wheels, on_log=log)
            except FleetError as error:
                failed.append((recipe, error))
                shown.done(recipe.tag, f"{name}: {error.message}")
            else:
                built.append(image)
                shown.done(recipe.tag, f"{name}: {image.how}")
    return built, failed


def _recipes(wiring: Wiring, profile: str | None, kind: Kind | None) -> list[Recipe]:
    """Return the recipes that were asked for; equal ones of several profiles each. Raises UsageError."""
    kinds = KINDS if kind is None else (kind.value,)
    return [recipe_for(each, chosen) for chosen in _profiles(wiring, profile) for each in kinds]


def _profiles(wiring: Wiring, name: str | None) -> list[Profile]:
    if name is not None and name.endswith((".yaml", ".yml")):
        return [load_profile(Path(name))]
    known = wiring.loaded.profiles
    if name is None:
        return list(known.values())
    if name not in known:
        raise UsageError(
            f"the manifest has no profile called {name}",
            hint=f"{did_you_mean(name, known)}; or give a profile's file: manifests/profiles/{name}.yaml",
        )
    return [known[name]]


def _document(recipe: Recipe) -> dict[str, Any]:
    return {
        "profile": recipe.profile.name,
        "kind": recipe.kind,
        "tag": recipe.tag,
        "digest": recipe.digest,
        "platform": recipe.profile.platform,
        "base_images": sorted({line.split()[1] for line in _from_lines(recipe)} - _stages(recipe)),
        "packages": len(recipe.requirements),
    }


def _from_lines(recipe: Recipe) -> list[str]:
    return [line for line in recipe.files[DOCKERFILE].decode().splitlines() if line.startswith("FROM ")]


def _stages(recipe: Recipe) -> set[str]:
    return {line.split()[3] for line in _from_lines(recipe) if " AS " in line}


def _write(recipe: Recipe, out: Path) -> str:
    """Write one build context whole, in place of an earlier one; never over a folder of somebody else's."""
    folder = out / f"{recipe.profile.name}-{recipe.kind}"
    if folder.exists() and not (folder / DOCKERFILE).is_file() and (not folder.is_dir() or any(folder.iterdir())):
        raise UsageError(f"{folder} exists and holds other files", hint="choose another folder with --out")
    try:
        out.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".render-", dir=out) as temporary:
            new = Path(temporary) / "new"
            for name, content in recipe.files.items():
                (new / name).parent.mkdir(parents=True, exist_ok=True)
                (new / name).write_bytes(content)
            if folder.exists():
                shutil.rmtree(folder)
            new.rename(folder)
    except OSError as error:
        raise UsageError(f"{folder} cannot be written: {error}", hint="choose another folder with --out") from error
    return str(folder)


def _render_table(console: Console, document: dict[str, Any]) -> None:
    rows = table("profile", "image", "recipe", "starts from", "")
    for each in document["images"]:
        rest = each.get("folder") or f"{each['how']}, {each['seconds']:.1f} s"
        rows.add_row(each["profile"], each["kind"], short(each["digest"]), "\n".join(each["base_images"]), rest)
    for each in document.get("failed", ()):
        rows.add_row(each["profile"], each["kind"], short(each["digest"]), "\n".join(each["base_images"]), "failed")
    console.print(rows)
