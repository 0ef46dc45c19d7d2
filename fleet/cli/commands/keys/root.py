"""`fleet keys root`: the signed trust root, and the updater that robots may get."""

from __future__ import annotations

import difflib
import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from fleet.bootstrap.updater_package import updater_version, updater_zipapp
from fleet.cli import options
from fleet.cli.rollout_flow import Declined
from fleet.cli.trust_root import updater_lacks
from fleet.cli.ui.console import conclude, plain, stderr
from fleet.cli.wiring import Wiring
from fleet.errors import NotSigned, UsageError
from fleet.signing.roots import SIGN, RootStanding, sign_root, sign_updater, updater_words
from runtime.contract.codec import digest_of_bytes
from runtime.contract.robot.root import TrustRoot


def run(
    manifest: options.ManifestOption = options.DEFAULT_MANIFEST,
    sign: Annotated[
        bool, typer.Option("--sign", help="Sign the root and the updater that are not signed yet.")
    ] = False,
    key: Annotated[
        Path | None, typer.Option("--key", help="Your SSH key, or its .pub for an agent's. Default: trust/sign_with.")
    ] = None,
    digest: Annotated[
        str | None, typer.Option("--digest", help="Do not ask: the root to sign must have this digest.")
    ] = None,
    yes: Annotated[bool, typer.Option("-y", "--yes", help="Do not ask; for the fleet's first root alone.")] = False,
    as_json: options.Json = False,
) -> None:
    """Show which trust root counts and what the manifest changes about it; --sign signs that. Exit code 4: unsigned."""
    wiring = Wiring(manifest)
    found = wiring.root_standing
    signed: list[str] = []
    if sign:
        mine = _key(wiring, key)
        if found.differs:
            _agree(found, digest, yes)
        words = updater_words(
            wiring.desired.fleet,
            updater_version(),
            updater_zipapp(),
            wiring.clock.now(),
            wiring.desired.trust.expires_s,
        )
        made = [
            sign_root(found, wiring.root_store, wiring.signer, mine),
            sign_updater(found, wiring.root_store, wiring.signer, mine, words),
        ]
        signed = [f"{each.what}: {each.path}" for each in made if each is not None]
        del wiring.root_standing
        found = wiring.root_standing
    lacks = "" if found.differs else updater_lacks(wiring)
    document = {
        "fleet": wiring.desired.fleet,
        "root": None if found.held is None else found.held.root.version,
        "unsigned": found.wanted.unsigned,
        "next": found.wanted.version if found.differs else None,
        "digest": digest_of_bytes(found.wanted.text.encode()) if found.differs else None,
        "missing": found.missing or None,
        "updater": updater_version(),
        "updater_missing": lacks or None,
        "signed": signed,
    }
    error = None
    if found.differs or lacks:
        what = f"root {found.wanted.version} is {found.missing}" if found.differs else f"the updater is {lacks}"
        error = NotSigned(what, hint=f"run {SIGN}; further signers do the same on a checkout with the folder root/")
    conclude(as_json, document, lambda console: _render(console, found, document), error)


def _key(wiring: Wiring, given: Path | None) -> tuple[Path, str]:
    path = given.expanduser() if given else wiring.desired.trust.sign_with
    if path is None:
        raise UsageError(
            "no key to sign with", hint="set trust/sign_with in fleet.yaml, or give one: --key ~/.ssh/id_ed25519"
        )
    return path, wiring.signer.fingerprint(path)


def _agree(found: RootStanding, expected: str | None, yes: bool) -> None:
    """Show what would be signed and have it agreed to. Raises UsageError, NotSigned, Declined."""
    made = digest_of_bytes(found.wanted.text.encode())
    if expected is not None:
        if expected != made:
            raise NotSigned(
                f"root {found.wanted.version} has the digest {made}, expected is {expected[:80]}",
                hint="nothing was signed: look at fleet keys root, then give the digest that you mean",
            )
        return
    if yes and found.held is None:
        return
    if yes or not sys.stdin.isatty():
        why = "--yes is for a fleet's first root" if yes else "there is no terminal to ask at"
        raise UsageError(
            f"root {found.wanted.version} has the digest {made}, and {why}",
            hint=f"look at it (fleet keys root), then: {SIGN} --digest {made}",
        )
    console = stderr()
    for line in _changes(found):
        console.print(plain(line), highlight=False)
    if not typer.confirm(f"Sign root {found.wanted.version}?", err=True):
        raise Declined("not signed: the question was answered with no", hint="nothing was changed")


def _changes(found: RootStanding) -> list[str]:
    before = [] if found.held is None else _lines(found.held.root)
    return list(difflib.unified_diff(before, _lines(found.wanted), "the root that counts", "the manifest", lineterm=""))


def _lines(root: TrustRoot) -> list[str]:
    values: dict[str, Any] = {name: getattr(root, name) for name in root.__dataclass_fields__}
    lines = []
    for name, value in values.items():
        text = str(value)
        lines += [f"{name}: {text}"] if "\n" not in text else [f"{name}:", *(f"  {each}" for each in text.splitlines())]
    return lines


def _render(console: Console, found: RootStanding, document: dict[str, Any]) -> None:
    for each in document["signed"]:
        console.print(plain(f"signed {each}"))
    if found.held is not None:
        kind = (
            "unsigned: robots take any order" if found.held.root.unsigned else f"{found.held.root.threshold} must sign"
        )
        console.print(plain(f"root {found.held.root.version} counts ({kind})"))
    if found.differs:
        for line in _changes(found):
            console.print(plain(line), highlight=False)
        console.print(plain(f"root {found.wanted.version} ({document['digest']}) is {found.missing}"))
    elif document["updater_missing"]:
        console.print(plain(f"updater {document['updater']}: {document['updater_missing']}"))
    else:
        console.print(plain(f"the manifest's trust is this root; updater {document['updater']} may go to robots"))
