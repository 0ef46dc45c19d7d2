"""One server for each file of tests, one operator for each test."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.contract.hosts.local_sshd import SSHD
from tests.contract.openssh.site import Operator, Site, serving


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """The machines."""
    assert SSHD is not None, "no sshd here: `make setup` installs openssh-server, without starting it"
    with serving(tmp_path_factory.mktemp("sshd")) as site:
        yield site


@pytest.fixture
def operator(site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Operator:
    """A user without an agent, whose answers of `ssh -G` are kept apart."""
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    home = tmp_path / "operator"
    home.mkdir()
    return Operator(site, home)
