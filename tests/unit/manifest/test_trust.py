"""`trust`: who signs. Every file that it names is read before anything is published."""

# ruff: noqa: E501  (one case a line reads better)
from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import pytest

from fleet.cli.commands.validate import notes
from fleet.errors import ManifestError, Problem
from fleet.manifest.load import load_manifest
from fleet.manifest.schema.trust_schema import UNSIGNED
from fleet.resolve.documents.trust import trust_spec
from fleet.resolve.images.recipe import recipe_for
from fleet.resolve.resolver import resolve
from fleet.signing.allowed_signers import SignerError, known_keys, read_signers
from tests.fakes.fleet_folder import write_fleet
from tests.unit.manifest.texts import FLEET, Case, broken, line_of

ANNA = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGe4oOEAjdwzAEAiC4k6FpoJWkqEFPmGZAwPt39BsnQD"
BEN = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIKtKAM5Di0ORhtptOW0xOzXUuYIgaDJCYIfFBSnZgByI"
NAMESPACES = 'namespaces="jetfleet.release,jetfleet.rollback"'
SIGNED = (
    "trust: {signers: allowed_signers, threshold: 2, sign_with: ~/.ssh/id_ed25519, expires: 30d, revoked: revoked_keys}"
)


def signed(folder: Path, signers: str | None, trust: str = SIGNED) -> Path:
    """Write a signed fleet with this allowed_signers file; None: without the file."""
    write_fleet(folder, fleet_text=FLEET.replace("trust: unsigned", trust))
    (folder / "revoked_keys").write_text("")
    if signers is not None:
        (folder / "allowed_signers").write_text(signers)
    return folder


def problem(folder: Path) -> Problem:
    with pytest.raises(ManifestError) as caught:
        load_manifest(folder)
    (found,) = caught.value.problems
    return found


FORM = [
    Case("left out", "fleet", "trust: unsigned\n", "", "trust", "trust is missing", "add it", at="apiVersion"),
    Case("a word that is none", "fleet", "trust: unsigned", "trust: nobody", "trust", "'nobody' names no signers", "unsigned"),
    Case("a number", "fleet", "trust: unsigned", "trust: 1", "trust", "is expected here", ""),
    Case("empty", "fleet", "trust: unsigned", "trust:", "trust", "", ""),
    Case("nobody named", "fleet", "trust: unsigned", "trust: {threshold: 1}", "trust/signers", "signers is missing", "add it", at="threshold"),
    Case("unknown key", "fleet", "trust: unsigned", "trust: {signers: a, treshold: 1}", "trust/treshold", "unknown key", "threshold?"),
    Case("threshold 0", "fleet", "trust: unsigned", "trust: {signers: a, threshold: 0}", "trust/threshold", "out of range", "at least 1"),
    Case("expires without a unit", "fleet", "trust: unsigned", "trust: {signers: a, expires: 90}", "trust/expires", "90 is not how long", "90d"),
    Case("expires at once", "fleet", "trust: unsigned", "trust: {signers: a, expires: 0d}", "trust/expires", "is not how long", "12h"),
    Case("expires after more than robots take", "fleet", "trust: unsigned", "trust: {signers: a, expires: 366d}", "trust/expires", "longer than robots accept a release", "365d or less"),
    Case("expires in seconds", "fleet", "trust: unsigned", "trust: {signers: a, expires: 30s}", "trust/expires", "is not how long", "hours or days"),
]  # fmt: skip


@pytest.mark.parametrize("case", FORM, ids=lambda case: case.name.replace(" ", "-"))
def test_what_is_written_wrong_is_said_with_file_and_line(case: Case, tmp_path: Path) -> None:
    problems = [each for each in broken(case, tmp_path) if each.path == case.path]
    assert problems, "no problem of that key"
    found = problems[0]
    assert case.says in found.message
    assert case.hint in found.hint
    text = FLEET.replace(case.old, case.new, 1)
    assert found.line == line_of(text, case.at or case.new)


@pytest.mark.parametrize(
    ("signers", "path", "says", "hint"),
    [
        (None, "trust/signers", "allowed_signers does not exist", "relative to fleet.yaml"),
        ("", "trust/signers", "names no signer (nobody may sign a release)", "add a line"),
        ("# nobody yet\n\n", "trust/signers", "names no signer (nobody may sign a release)", "jetfleet.*"),
        (f'anna@x namespaces="git" {ANNA}\n', "trust/signers", "names no signer", "add a line"),
        (f"anna@x {ANNA}\n", "trust/threshold", "2 signers are needed", "lower the threshold"),
        (f"anna@x {ANNA}\nanna@x {BEN}\n", "trust/threshold", "names 1", ""),
        (f"anna@x {ANNA}\nben@x {ANNA}\n", "trust/threshold", "names 1", ""),
        (f'anna@x {ANNA}\nben@x namespaces="git" {BEN}\n', "trust/threshold", "names 1", ""),
    ],
)
def test_signers_who_are_not_there_or_too_few(
    tmp_path: Path, signers: str | None, path: str, says: str, hint: str
) -> None:
    found = problem(signed(tmp_path, signers))
    assert found.path == path
    assert says in found.message
    assert hint in found.hint
    assert found.line == line_of(FLEET, "trust: unsigned")


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("anna@x", "has a name and no key"),
        ("anna@x garbage here", "has no public key"),
        ("anna@x ssh-ed25519", "has no public key"),
        ("anna@x ssh-ed25519 AAAA", "is not a key of type ssh-ed25519"),
        (f"anna@x ssh-rsa {ANNA.split()[1]}", "is not a key of type ssh-rsa"),
        ("anna@x ssh-ed25519 !!!!", "is not a key of type"),
    ],
)
def test_a_line_that_is_no_signer_is_named(tmp_path: Path, line: str, says: str) -> None:
    found = problem(signed(tmp_path, f"# ours\nben@x {BEN}\n{line}\n"))
    assert found.file == str(tmp_path / "allowed_signers")
    assert found.line == 3
    assert says in found.message
    assert "ssh-ed25519 AAAA" in found.hint


@pytest.mark.parametrize("key", ["signers", "revoked"])
def test_files_outside_of_the_folder_are_refused(tmp_path: Path, key: str) -> None:
    (tmp_path / "elsewhere").write_text(f"anna@x {ANNA}\n")
    values = {"signers": "allowed_signers", key: "../elsewhere"}
    trust = "trust: {" + ", ".join(f"{name}: {value}" for name, value in values.items()) + "}"
    found = problem(signed(tmp_path / "fleet", f"anna@x {ANNA}\n", trust))
    assert found.path == f"trust/{key}"
    assert "outside of the manifest's folder" in found.message


def test_revoked_keys_that_are_not_there(tmp_path: Path) -> None:
    folder = signed(tmp_path, f"anna@x {ANNA}\nben@x {BEN}\n")
    (folder / "revoked_keys").unlink()
    found = problem(folder)
    assert found.path == "trust/revoked"
    assert "does not exist" in found.message


def test_a_file_that_cannot_be_read_is_a_problem(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = signed(tmp_path, f"anna@x {ANNA}\nben@x {BEN}\n")
    read = Path.read_text

    def refused(path: Path, *arguments: Any, **options: Any) -> str:
        if path.name == "allowed_signers":  # by its rights, which root is not bound to
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
        return read(path, *arguments, **options)

    monkeypatch.setattr(Path, "read_text", refused)
    assert "cannot be read: Permission denied" in problem(folder).message


def test_a_signed_fleet_loads(tmp_path: Path) -> None:
    trust = load_manifest(signed(tmp_path, f"anna@x,ann@x {NAMESPACES} {ANNA} Anna\nben@x {BEN}\n")).manifest.trust
    assert (trust.threshold, trust.expires, trust.sign_with) == (2, 30 * 86400.0, "~/.ssh/id_ed25519")
    assert not trust.unsigned


def test_one_authority_counts_once(tmp_path: Path) -> None:
    found = problem(signed(tmp_path, f"*@x cert-authority {ANNA}\n*@y cert-authority {ANNA}\nanna@x {ANNA}\n"))
    assert found.path == "trust/threshold"
    assert "names 1 different ones; a certificate authority counts once" in found.message


def test_an_authority_and_a_key_beside_it_are_two(tmp_path: Path) -> None:
    load_manifest(signed(tmp_path, f"*@x cert-authority {ANNA}\nben@x {BEN}\n"))


def test_an_unsigned_fleet_says_so(tmp_path: Path) -> None:
    manifest = load_manifest(write_fleet(tmp_path)).manifest
    assert manifest.trust == UNSIGNED
    assert manifest.trust.unsigned


def test_lines_are_read_as_openssh_reads_them() -> None:
    first, second = read_signers(f'"anna smith,ann" cert-authority,{NAMESPACES} {ANNA} a comment\n\n ben@x {BEN}')
    assert (first.principals, first.is_authority, first.line) == (("anna smith", "ann"), True, 1)
    assert [first.may_sign(name) for name in ("jetfleet.release", "git")] == [True, False]
    assert (second.principals, second.is_authority, second.line) == (("ben@x",), False, 3)
    assert second.may_sign("git")
    with pytest.raises(SignerError):
        list(read_signers("x"))


# ── builders ──

BUILDERS = SIGNED.replace("}", ", builders: allowed_builders, build_with: ~/.ssh/builder}")
SIGNERS = f"anna@x {NAMESPACES} {ANNA}\nben@x {NAMESPACES} {BEN}\n"


def with_builders(folder: Path, builders: str | None) -> Path:
    signed(folder, SIGNERS, BUILDERS)
    if builders is not None:
        (folder / "allowed_builders").write_text(builders)
    return folder


def test_builders_are_read_beside_the_signers(tmp_path: Path) -> None:
    manifest = load_manifest(with_builders(tmp_path, f'ci@x namespaces="jetfleet.provenance" {ANNA}\n')).manifest
    assert (manifest.trust.builders, manifest.trust.build_with) == ("allowed_builders", "~/.ssh/builder")
    spec = trust_spec(manifest.trust, tmp_path)
    assert spec.builders == tmp_path / "allowed_builders"
    assert spec.build_with == Path("~/.ssh/builder").expanduser()


@pytest.mark.parametrize(
    ("builders", "says"),
    [
        (None, "allowed_builders does not exist"),
        ("", "names no builder (nobody may attest builds)"),
        (f"ci@x {NAMESPACES} {ANNA}\n", "names no builder (nobody may attest builds)"),
    ],
)
def test_builders_who_are_not_there(tmp_path: Path, builders: str | None, says: str) -> None:
    found = problem(with_builders(tmp_path, builders))
    assert (found.path, found.line) == ("trust/builders", line_of(FLEET, "trust: unsigned"))
    assert says in found.message


def test_a_line_that_is_no_builder_is_named(tmp_path: Path) -> None:
    found = problem(with_builders(tmp_path, "ci@x garbage\n"))
    assert (found.file, found.line) == (str(tmp_path / "allowed_builders"), 1)


@pytest.mark.parametrize(
    ("line", "said"), [(NAMESPACES, 1), ('namespaces="jetfleet.*"', 0), ("", 0), ("cert-authority", 0)]
)
def test_a_signed_fleet_without_builders_is_noted(tmp_path: Path, line: str, said: int) -> None:
    signed(tmp_path, f"anna@x {line} {ANNA}\nben@x {NAMESPACES} {BEN}\n", SIGNED)
    found = list(notes(resolve(load_manifest(tmp_path), recipe_for)))
    assert len(found) == said
    assert not said or "trust/builders" in found[0]


def test_the_names_of_keys_are_openssh_s(tmp_path: Path) -> None:
    (tmp_path / "signers").write_text(f"anna@x {NAMESPACES} {ANNA}\n*@x cert-authority {BEN}\n")
    (found,) = known_keys(tmp_path / "signers", "jetfleet.release") or ()
    assert found.startswith("SHA256:")
    assert known_keys(tmp_path / "signers", "git") == ()
    assert known_keys(tmp_path / "signers", "jetfleet.release", authorities=True) is None
    assert known_keys(tmp_path / "missing", "git") is None
    (tmp_path / "signers").write_text("x")
    assert known_keys(tmp_path / "signers", "git") is None
