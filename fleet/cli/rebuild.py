"""What a signer signs is made again from the manifest at hand, and never read off the registry."""

from __future__ import annotations

import sys

import typer

from fleet.cli.commands.publish import compose_files
from fleet.cli.provenance import builders_of, checked_engines
from fleet.cli.rollout_flow import Declined
from fleet.cli.ui.activity import Activity, activity
from fleet.cli.ui.console import plain, stderr
from fleet.cli.wiring import Wiring
from fleet.errors import NotProven, UsageError
from fleet.oci.release_diff import differences, unified
from fleet.oci.releases import CURRENT, PublishedRelease, as_published, find_release, load_release, releases_of
from fleet.oci.skim import skim
from fleet.publish.lookup import look_up
from fleet.publish.publish import plan_images, release_document
from runtime.contract.codec import canonical_json
from runtime.contract.robot.trust import document_digest


def release_to_sign(wiring: Wiring, version: str | None) -> PublishedRelease:
    """Return the published release once the manifest at hand gives the same document, byte for byte.

    Raises UsageError for another version than the manifest's, NotProven with the difference, RegistryError.
    """
    desired = wiring.desired
    if version is not None and version != desired.version:
        raise UsageError(
            f"the manifest at hand is version {desired.version}, {version} is to be signed",
            hint=f"check out the manifest of {version}: what is signed is rebuilt from it",
        )
    with activity() as shown:
        shown.update("rebuild", f"rebuilding release {desired.version} from the manifest")
        published = load_release(wiring.registry, desired.registry.prefix, desired.version)
        rebuilt = _rebuild(wiring, shown)
    if rebuilt.text == published.text:
        return rebuilt
    what = "; ".join(differences(published.document, rebuilt.document))
    lines = unified(shown_text(published), shown_text(rebuilt), "the registry", "the manifest at hand")
    raise NotProven(
        f"release {desired.version} in the registry differs from what the manifest at hand makes: {what}\n"
        + "\n".join(f"  {line}" for line in lines),
        hint="nothing was signed. It was replaced, or this checkout (manifest or jetfleet) is not the one that "
        "it was published from: git log, fleet --version",
    )


def _rebuild(wiring: Wiring, shown: Activity) -> PublishedRelease:
    desired, registry = wiring.desired, wiring.registry
    facts = look_up(registry, desired, builders_of(wiring))
    engines = checked_engines(wiring, facts, shown)
    if missing := facts.missing_bases():
        raise UsageError(
            f"the registry lacks the base image {', '.join(missing)}", hint="run fleet publish, then this again"
        )
    bases = {tag: digest for tag, digest in facts.bases.items() if digest is not None}
    plans = plan_images(desired, registry, engines, bases)
    return as_published(release_document(desired, registry.host, plans, engines, compose_files(wiring)))


def shown_text(release: PublishedRelease) -> str:
    """Return a release as a signer reads it: with its robots' own parts, of which the signed text has the digests."""
    return canonical_json(release.document).decode("utf-8")


def confirm(wiring: Wiring, release: PublishedRelease, expected: str | None, yes: bool) -> None:
    """Show what is about to be signed and have it agreed to. Raises UsageError, Declined.

    ``expected``: the digest that a script expects, of the document or of the release.
    """
    document = document_digest(release.text)
    if expected is not None:
        if expected not in (document, release.digest):
            raise NotProven(
                f"release {release.version} has the document {document}, expected is {expected[:80]}",
                hint="nothing was signed: look at what changed, then give the digest that you expect",
            )
        return
    if yes or not sys.stdin.isatty():
        why = "--yes needs the digest that you expect" if yes else "there is no terminal to ask on"
        raise UsageError(
            f"release {release.version} has the document {document}, and {why}",
            hint="look at it first (fleet diff, fleet keys verify), then give the digest: --digest sha256:…",
        )
    _show(wiring, release, document)
    if not typer.confirm("Sign it?", err=True):
        raise Declined("not signed: you answered no", hint="nothing was changed")


def _show(wiring: Wiring, release: PublishedRelease, document: str) -> None:
    console, prefix = stderr(), wiring.desired.registry.prefix
    console.print(plain(f"release {release.version} of {release.document.fleet}, as the manifest at hand makes it"))
    console.print(f"document {document}\nrelease  {release.digest}")
    days = wiring.desired.trust.expires_s / 86400
    console.print(f"for {len(release.document.robots)} robots, for {days:g} days")
    current, junk = skim(
        wiring.registry, releases_of(prefix), [CURRENT], lambda tag: find_release(wiring.registry, prefix, tag)
    )
    for line in junk:
        console.print(plain(line))
    if not current:
        console.print("nothing was rolled out before: everything is new")
        return
    console.print(plain(f"against {current[0].version}, which was rolled out last:"))
    for line in unified(shown_text(current[0]), shown_text(release), current[0].version, release.version):
        console.print(plain(f"  {line}"), highlight=False)
