"""Repositories that must exist first: they are tried, named all at once, and created where that is known."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from fleet.errors import RegistryAuthError, RepositoryMissing
from fleet.oci.repositories import REPOSITORIES, repositories_of
from fleet.publish.prepare import create_command, missing_error, prepare
from tests.fakes.registries.registry import FakeRegistry

ROOT = Path(__file__).parents[3]
ECR = "123456789012.dkr.ecr.eu-central-1.amazonaws.com"
ALL = repositories_of("warehouse")


class Strict(FakeRegistry):
    """A registry that makes no repository by itself; those in the file exist."""

    def __init__(self, file: Path, host: str = ECR) -> None:
        super().__init__(host)
        self.file = file
        self.hook = self._look

    def _look(self, verb: str, target: str) -> None:
        if verb == "check_push" and target not in self.file.read_text().split():
            raise RepositoryMissing(f"{target} does not exist")


@pytest.fixture
def strict(tmp_path: Path) -> Strict:
    (tmp_path / "there").write_text("warehouse/bases\n")
    return Strict(tmp_path / "there")


@pytest.fixture
def aws(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A stand-in for AWS's own program, which creates what it is told to."""
    program = tmp_path / "bin" / "aws"
    program.parent.mkdir()
    program.write_text(
        f'#!/bin/sh\necho "$*" >> {tmp_path}/asked\nfor last; do :; done\necho "$last" >> {tmp_path}/there\n'
    )
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
    return program


def test_every_repository_of_the_code_is_in_the_list() -> None:
    found = set()
    for path in (ROOT / "fleet").rglob("*.py"):
        found |= set(re.findall(r'f"\{[a-z_.]*prefix\}/([a-z]+)"', path.read_text(encoding="utf-8")))
    assert found == set(REPOSITORIES)


def test_a_registry_that_makes_them_by_itself_lacks_nothing() -> None:
    registry = FakeRegistry()
    assert {each.state for each in prepare(registry, "warehouse")} == {"there"}
    assert [target for verb, target in registry.calls if verb == "check_push"] == list(ALL)


def test_what_is_missing_is_created(strict: Strict, aws: Path, tmp_path: Path) -> None:
    found = prepare(strict, "warehouse")
    assert [each.state for each in found] == ["there", *["created"] * 6]
    assert missing_error(ECR, found) is None
    asked = (tmp_path / "asked").read_text().splitlines()
    assert asked == [
        f"ecr create-repository --registry-id 123456789012 --region eu-central-1 --repository-name {name}"
        for name in ALL[1:]
    ]
    assert {each.state for each in prepare(strict, "warehouse")} == {"there"}, "running it again does nothing"


def test_a_dry_run_creates_nothing(strict: Strict, aws: Path, tmp_path: Path) -> None:
    found = prepare(strict, "warehouse", create=False)
    assert [each.state for each in found] == ["there", *["missing"] * 6]
    assert found[1].shell.startswith("aws ecr create-repository --registry-id 123456789012 ")
    assert not (tmp_path / "asked").exists()


def test_without_the_vendor_s_program_the_commands_are_shown(strict: Strict, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    found = prepare(strict, "warehouse")
    error = missing_error(ECR, found)
    assert error is not None
    assert all(name in error.message for name in ALL[1:])
    assert "run the commands" in error.hint


def test_what_the_program_says_is_passed_on(strict: Strict, aws: Path) -> None:
    aws.write_text("#!/bin/sh\necho 'AccessDeniedException: not you' >&2\nexit 254\n")
    found = prepare(strict, "warehouse")
    error = missing_error(ECR, found)
    assert error is not None
    assert "aws ended with exit code 254: AccessDeniedException: not you" in error.message


def test_what_somebody_else_created_meanwhile_is_fine(strict: Strict, aws: Path, tmp_path: Path) -> None:
    already = "echo 'RepositoryAlreadyExistsException' >&2; exit 254"
    aws.write_text(f'#!/bin/sh\nfor last; do :; done\necho "$last" >> {tmp_path}/there\n{already}\n')
    assert [each.state for each in prepare(strict, "warehouse")][1:] == ["created"] * 6


def test_a_registry_that_refuses_for_another_reason_is_heard(strict: Strict) -> None:
    def refuse(verb: str, target: str) -> None:
        raise RegistryAuthError("401")

    strict.hook = refuse
    with pytest.raises(RegistryAuthError):
        prepare(strict, "warehouse")


@pytest.mark.parametrize(
    ("host", "repository", "command"),
    [
        (ECR, "a/b", "aws ecr create-repository"),
        ("123456789012.dkr.ecr-fips.us-gov-west-1.amazonaws.com", "a/b", "aws ecr create-repository"),
        ("europe-west3-docker.pkg.dev", "project/repo/a/b", "gcloud artifacts repositories create repo --rep"),
        ("ecr.amazonaws.com.evil.test", "a/b", ""),
        ("registry.test:5000", "a/b", ""),
    ],
)
def test_how_a_vendor_creates_one(host: str, repository: str, command: str) -> None:
    words = " ".join(create_command(host, repository))
    assert words.startswith(command)
    assert bool(words) == bool(command)
