"""`fleet keys`: who signs releases, and who has."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from fleet.cli import complete, options
from fleet.cli.commands.keys import newest, root
from fleet.cli.desired import bring_roots, by_ssh
from fleet.cli.rebuild import confirm, release_to_sign
from fleet.cli.trust_root import roots_to_bring
from fleet.cli.ui.activity import activity
from fleet.cli.ui.console import conclude, emit, note, notice, plain, table
from fleet.cli.ui.robots import CONNECT_S, each
from fleet.cli.ui.signature_view import Standing, keyring, sign_release
from fleet.cli.wiring import Wiring
from fleet.errors import FleetError, NotSigned, OutsideError, RobotError, RobotOffline, RobotsOffline
from fleet.link.robot import RobotClient
from fleet.oci.releases import PublishedRelease, load_release
from fleet.resolve.desired import DesiredRobot
from fleet.resolve.inventory import select
from fleet.signing.allowed_signers import read_signers
from fleet.signing.intent import at
from fleet.signing.keyring import Bundle, JudgedSignature
from fleet.signing.provenance import PROVENANCE
from fleet.signing.trust_spec import TrustSpec
from runtime.contract.robot.trust import NAMESPACES, RELEASE, document_digest

app = typer.Typer(
    help="Who signs: list them, sign roots and releases, verify, bring the root to robots.", no_args_is_help=True
)
app.command("root")(root.run)
app.command("newest")(newest.run)

Version = Annotated[
    str | None,
    typer.Argument(help="A published version. Default: the manifest's.", autocompletion=complete.versions),
]


@app.command("list")
def show(manifest: options.ManifestOption = options.DEFAULT_MANIFEST, as_json: options.Json = False) -> None:
    """Show who may sign, how many must, and for how long a signature lasts. No network."""
    trust = Wiring(manifest).desired.trust
    signers = _signers(trust)
    document = {
        "unsigned": trust.unsigned,
        "threshold": None if trust.unsigned else trust.threshold,
        "expires_days": None if trust.unsigned else round(trust.expires_s / 86400, 2),
        "sign_with": None if trust.sign_with is None else str(trust.sign_with),
        "revoked": None if trust.revoked is None else str(trust.revoked),
        "builders": _builders(trust),
        "build_with": None if trust.build_with is None else str(trust.build_with),
        "signers": signers,
    }
    emit(as_json, document, lambda console: _render_list(console, document))


@app.command("sign")
def sign(
    version: Version = None,
    manifest: options.ManifestOption = options.DEFAULT_MANIFEST,
    key: Annotated[
        Path | None, typer.Option("--key", help="Your SSH key, or its .pub for an agent's. Default: trust/sign_with.")
    ] = None,
    renew: Annotated[
        bool, typer.Option("--renew", help="Renew a signature that is valid, for another span of trust/expires.")
    ] = False,
    digest: Annotated[
        str | None, typer.Option("--digest", help="Do not ask: the document's (or release's) digest must be this one.")
    ] = None,
    yes: Annotated[bool, typer.Option("-y", "--yes", help="Do not ask; needs --digest.")] = False,
    as_json: options.Json = False,
) -> None:
    """Add your signature to a published release, once the manifest at hand makes the same. Others sign these words."""
    wiring = Wiring(manifest)
    keys = keyring(wiring)
    mine = keys.key(key.expanduser() if key else None)
    release = release_to_sign(wiring, version)
    if renew and not keys.counted(release):
        raise NotSigned(
            f"release {release.version} is not valid yet: too few allowed signers have signed its document",
            hint=f"--renew extends a valid signature; run fleet keys sign {release.version} without it",
        )
    if digest is not None or yes or not keys.signed_before(release, mine[1]):
        confirm(wiring, release, digest, yes)
    standing = sign_release(wiring, release, mine, renew=renew)
    document = {
        "version": release.version,
        "release": release.digest,
        "document": document_digest(release.text),
        "key": mine[1],
        **standing.document(),
    }
    emit(
        as_json,
        document,
        lambda console: console.print(plain(f"{release.version} is {standing.line(release.version)}")),
    )


@app.command("verify")
def verify(
    version: Version = None, manifest: options.ManifestOption = options.DEFAULT_MANIFEST, as_json: options.Json = False
) -> None:
    """Check a release's signatures as robots do, against the manifest's allowed signers. Exit code 4: too few."""
    wiring = Wiring(manifest)
    release = _release(wiring, version)
    standing, bundles, damaged = _standing(wiring, release)
    rows = [_row(bundle, each_) for bundle in bundles for each_ in bundle.signatures]
    document = {
        "version": release.version,
        "release": release.digest,
        "document": document_digest(release.text),
        **standing.document(),
        "signatures": rows,
        "damaged": damaged,
    }
    notice(damaged)
    error = _too_few(release, standing, damaged)
    conclude(as_json, document, lambda console: _render_verify(console, release, rows, standing), error)


@app.command("push")
def push(
    manifest: options.ManifestOption = options.DEFAULT_MANIFEST,
    robots: options.Robots = None,
    as_json: options.Json = False,
) -> None:
    """Bring the signed trust root (signers, revoked keys, threshold) to robots; nothing else is touched."""
    wiring = Wiring(manifest)
    chosen = select(wiring.desired, robots)
    roots = roots_to_bring(wiring)
    bring_roots(wiring, roots)
    chosen, away = by_ssh(chosen)
    if away:
        note("", f"{len(away)} robots that pull take the root with their next desired statement: fleet keys newest")

    def one(robot: DesiredRobot) -> bool | FleetError:
        client = RobotClient(robot.address, wiring.shells, wiring.clock, connect_timeout_s=CONNECT_S)
        try:
            return client.take_root(roots)
        except FleetError as error:
            return error
        finally:
            client.close()

    with activity() as shown:
        results = dict(each(wiring, chosen, one, shown, "keys push"))
    rows = [_pushed(name, result) for name, result in results.items()]
    document = {"fleet": wiring.desired.fleet, "robots": rows}
    conclude(as_json, document, lambda console: _render_push(console, rows), _push_error(results))


def _release(wiring: Wiring, version: str | None) -> PublishedRelease:
    return load_release(wiring.registry, wiring.desired.registry.prefix, version or wiring.desired.version)


def _standing(wiring: Wiring, release: PublishedRelease) -> tuple[Standing, list[Bundle], list[str]]:
    if wiring.desired.trust.unsigned:
        return Standing(unsigned=True), [], []
    keys = keyring(wiring)
    bundles, damaged = keys.bundles(release)
    best = bundles[0] if bundles else None
    return Standing(False, best.people if best else (), keys.missing(best)), bundles, damaged


def _signers(trust: TrustSpec) -> list[dict[str, Any]]:
    return [] if trust.signers is None else _lines(trust.signers, NAMESPACES[RELEASE])


def _builders(trust: TrustSpec) -> list[dict[str, Any]]:
    allowed = trust.builders or trust.signers
    return [] if allowed is None else _lines(allowed, PROVENANCE)


def _lines(path: Path, namespace: str) -> list[dict[str, Any]]:
    lines = read_signers(path.read_text(encoding="utf-8"))
    return [
        {
            "principals": list(line.principals),
            "key": line.fingerprint,
            "type": line.key.split()[0],
            "authority": line.is_authority,
            "options": line.options,
        }
        for line in lines
        if line.may_sign(namespace)
    ]


def _row(bundle: Bundle, judged: JudgedSignature) -> dict[str, Any]:
    return {
        "key": judged.facts.key or None,
        "principals": list(judged.facts.principals),
        "issued_at": bundle.statement.issued_at,
        "expires_at": bundle.statement.expires_at,
        "counts": not judged.problem,
        "problem": judged.problem or None,
    }


def _too_few(release: PublishedRelease, standing: Standing, damaged: list[str]) -> NotSigned | None:
    if standing.unsigned or not standing.missing:
        return None
    return NotSigned(
        f"robots would refuse {release.version}: {'; '.join([standing.missing, *damaged])}",
        hint=f"let an allowed signer run fleet keys sign {release.version}",
    )


def _pushed(name: str, result: bool | FleetError) -> dict[str, Any]:
    if isinstance(result, FleetError):
        words = result.words if isinstance(result, RobotError) else result.message
        return {"name": name, "changed": False, "error": words, "hint": result.hint}
    return {"name": name, "changed": result, "error": None, "hint": None}


def _push_error(results: dict[str, bool | FleetError]) -> FleetError | None:
    errors = [result for result in results.values() if isinstance(result, FleetError)]
    if not errors:
        return None
    count = f"{len(errors)} of {len(results)} robots"
    if all(isinstance(error, RobotOffline) for error in errors):
        return RobotsOffline(
            f"{count} are offline and keep their former signers",
            hint="run it again for them when they are back",
        )
    if len(errors) == 1:
        return errors[0]
    return OutsideError(f"{count} have no new signers", hint="correct what is listed above and run it again")


def _render_list(console: Console, document: dict[str, Any]) -> None:
    if document["unsigned"]:
        console.print("unsigned: robots of this fleet take any release (trust: unsigned)")
        return
    for role in ("signer", "builder"):
        rows = table(role, "key", "type", "")
        for each_ in document[f"{role}s"]:
            kind = "authority" if each_["authority"] else ""
            rows.add_row(plain(", ".join(each_["principals"])), each_["key"], each_["type"], kind)
        console.print(rows)
    console.print(f"{document['threshold']} must sign; a signature lasts {document['expires_days']:g} days")
    for name in ("sign_with", "build_with", "revoked"):
        if document[name]:
            console.print(plain(f"{name.replace('_', ' ')} {document[name]}"))


def _render_verify(console: Console, release: PublishedRelease, rows: list[dict[str, Any]], standing: Standing) -> None:
    view = table("signer", "key", "signed", "until", "")
    for row in rows:
        counts = "[green]counts[/]" if row["counts"] else f"[red]{plain(str(row['problem']))}[/]"
        who = plain(", ".join(row["principals"]) or "an unknown signer")
        view.add_row(who, row["key"] or "", at(row["issued_at"]), at(row["expires_at"]), counts)
    if rows:
        console.print(view)
    console.print(plain(f"{release.version} is {standing.line(release.version)}"))


def _render_push(console: Console, rows: list[dict[str, Any]]) -> None:
    view = table("robot", "")
    for row in rows:
        done = "[green]changed[/]" if row["changed"] else "nothing to do"
        view.add_row(row["name"], f"[red]{plain(row['error'])}[/]" if row["error"] else done)
    console.print(view)
