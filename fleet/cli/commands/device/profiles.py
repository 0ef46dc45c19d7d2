"""`fleet profiles`: the device profiles that travel with `fleet`."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from fleet.cli import options
from fleet.cli.ui.console import emit, table, write
from fleet.errors import UsageError
from fleet.resolve.shipped_profiles import ShippedProfile, shipped_profile, shipped_profiles

app = typer.Typer(help="Device profiles that travel with fleet: list, show, add to a manifest.", no_args_is_help=True)

NameArgument = Annotated[str, typer.Argument(metavar="NAME", help="As `fleet profiles list` shows it.")]


@app.command("list")
def list_profiles(as_json: options.Json = False) -> None:
    """List the device profiles that travel with fleet."""
    found = [_document(each) for each in shipped_profiles().values()]

    def render(console: Console) -> None:
        rows = table("profile", "module", "L4T", "TensorRT", "SMs", "power modes")
        for each in found:
            modes = ", ".join(each["power_modes"])
            sms = str(each["sm_count"] or "")
            rows.add_row(each["name"], each["module"] or "none", each["l4t"] or "", each["tensorrt"] or "", sms, modes)
        console.print(rows)

    emit(as_json, {"profiles": found}, render)


@app.command("show")
def show_profile(name: NameArgument, as_json: options.Json = False) -> None:
    """Print one of them, as its file would be."""
    found = shipped_profile(name)
    if as_json:
        emit(True, {**_document(found), "text": found.text}, lambda _console: None)
    else:
        write(found.text)


@app.command("add")
def add_profile(
    name: NameArgument,
    manifest: options.ManifestOption = options.DEFAULT_MANIFEST,
    builder: Annotated[
        str | None, typer.Option("--builder", metavar="ENDPOINT", help="Where its engines are built: ssh://user@host.")
    ] = None,
    as_json: options.Json = False,
) -> None:
    """Write one of them into profiles/ beside fleet.yaml. Never overwrites a file."""
    found = shipped_profile(name)
    folder = manifest.parent if manifest.suffix in (".yaml", ".yml") else manifest
    path = folder / "profiles" / f"{name}.yaml"
    text = with_builder(found.text, builder) if builder else found.text
    written = write_new(path, text)

    def render(console: Console) -> None:
        console.print(f"wrote {written}\nNow: add profiles/{name}.yaml to `profiles` in fleet.yaml", markup=False)

    emit(as_json, {"written": str(written), "profile": name}, render)


def with_builder(text: str, endpoint: str) -> str:
    """Return a profile's text with another builder. Raises UsageError for an endpoint that is none."""
    if not re.fullmatch(r"local|(ssh|unix|tcp)://[^\s,{}]+", endpoint):
        raise UsageError(f"{endpoint!r} is no builder", hint="write local, or ssh://user@host")
    changed, count = re.subn(r"^builder: \{endpoint: [^,}]+", f"builder: {{endpoint: {endpoint}", text, flags=re.M)
    assert count == 1, "every profile that travels with fleet names its builder in one line"
    return changed


def write_new(path: Path, text: str) -> Path:
    """Write a file that must not exist yet. Raises UsageError when it does."""
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError as error:
        raise UsageError(f"{path} exists", hint="edit it, or remove it first") from error
    return path


def _document(shipped: ShippedProfile) -> dict[str, Any]:
    profile = shipped.profile
    return {
        "name": profile.name,
        "module": profile.module,
        "l4t": profile.l4t,
        "tensorrt": profile.tensorrt,
        "cuda": profile.cuda,
        "sm_count": profile.sm_count,
        "power_modes": list(profile.power_modes),
        "backend": profile.backend,
        "platform": profile.platform,
    }
