"""The one place that constructs adapters and hands them to the rest."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory

from fleet.bootstrap.secret import read_secret
from fleet.build.sources import SourceCache
from fleet.manifest.load import LoadedManifest, load_manifest
from fleet.manifest.schema.manifest_schema import Profile
from fleet.ports import Clock, ContainerHost, HttpPoster, HubClient, Registry, RobotShells, Signer
from fleet.resolve.desired import Desired
from fleet.resolve.documents.trust import ROOT_FOLDER
from fleet.resolve.images.recipe import recipe_for
from fleet.resolve.resolver import resolve
from fleet.signing.root_store import RootStore
from fleet.signing.roots import RootStanding, judge_with, standing

KNOWN_HOSTS = "known_hosts"
"""Pinned host keys, next to fleet.yaml so that they are in git with the robots they belong to."""


class Wiring:
    """Everything a verb needs, made when it is first asked for: `fleet validate` touches no network."""

    def __init__(self, manifest: Path) -> None:
        self._path = manifest
        self._hosts: dict[str, ContainerHost] = {}
        self._strangers: TemporaryDirectory[str] | None = None
        self._looks = count()

    @cached_property
    def loaded(self) -> LoadedManifest:
        """The manifest with its files. Raises ManifestError."""
        return load_manifest(self._path)

    @cached_property
    def desired(self) -> Desired:
        """What every robot should run. Raises ManifestError."""
        return resolve(self.loaded, recipe_for)

    @cached_property
    def registry(self) -> Registry:
        """The manifest's registry."""
        from fleet.adapters.registry.oci_registry import OciRegistry

        reference = self.loaded.manifest.registry
        ca_file = self.loaded.root / reference.ca_file if reference.ca_file else None
        return OciRegistry(reference.host, plain_http=reference.plain_http, ca_file=ca_file, prefix=reference.prefix)

    @cached_property
    def shells(self) -> RobotShells:
        """SSH with the host keys pinned next to the manifest."""
        from fleet.adapters.ssh.ssh_shell import SshShells
        from fleet.cli.ui.console import note

        names = [robot.name for robot in self.loaded.manifest.robots]
        return SshShells(self.loaded.root / KNOWN_HOSTS, robots=names, on_note=note)

    def shells_for_a_look(self, known_hosts: Path | None = None) -> RobotShells:
        """SSH to machines that are in no manifest, or not pinned: keys are kept in ``known_hosts``, or nowhere."""
        from fleet.adapters.ssh.ssh_shell import SshShells
        from fleet.cli.ui.console import note

        if known_hosts is not None:
            return SshShells(known_hosts, on_note=note)
        if self._strangers is None:
            self._strangers = TemporaryDirectory(prefix="fleet-hosts-")
        return SshShells(Path(self._strangers.name) / f"{next(self._looks)}", on_note=note)

    @cached_property
    def sources(self) -> SourceCache:
        """Model files, wherever they are."""
        from fleet.adapters.http_download import HttpDownloader

        return SourceCache(HttpDownloader(), self._registry_at)

    @cached_property
    def poster(self) -> HttpPoster:
        """Whoever is to be told by HTTP."""
        from fleet.adapters.http_post import RequestsPoster

        return RequestsPoster()

    @cached_property
    def hub(self) -> HubClient | None:
        """The manifest's hub, its token read; None where it names none. Raises UsageError for a missing token."""
        from fleet.adapters.http_hub import RequestsHub

        named = self.desired.hub
        if named is None:
            return None
        token = read_secret(named.token, "hub/token") if named.token is not None else ""
        return RequestsHub(named.url, ca_file=Path(named.ca_file) if named.ca_file else None, token=token)

    def _registry_at(self, host: str) -> Registry:
        """Return the client of a registry that a model's OCI source names."""
        from fleet.adapters.registry.oci_registry import OciRegistry

        return self.registry if host == self.loaded.manifest.registry.host else OciRegistry(host)

    @cached_property
    def clock(self) -> Clock:
        """Real time."""
        from fleet.adapters.system_clock import SystemClock

        return SystemClock()

    @cached_property
    def signer(self) -> Signer:
        """The operator's ssh-keygen."""
        from fleet.adapters.ssh.ssh_signer import SshSigner

        return SshSigner()

    @cached_property
    def root_store(self) -> RootStore:
        """The signed trust roots beside the manifest."""
        return RootStore(self.loaded.root / ROOT_FOLDER)

    @cached_property
    def root_standing(self) -> RootStanding:
        """Which root counts, and what lies between it and the manifest. Raises NotSigned, UsageError."""
        return standing(self.desired.fleet, self.desired.trust, self.root_store, judge_with(self.signer))

    @property
    def host_of(self) -> Callable[[Profile], ContainerHost]:
        """Return the builder of a profile; profiles with one endpoint share one connection pool."""
        return self._host_of

    @property
    def local_host(self) -> ContainerHost:
        """This machine's Engine."""
        return self._host_at("local")

    def _host_of(self, profile: Profile) -> ContainerHost:
        return self._host_at(profile.builder.endpoint)

    def _host_at(self, endpoint: str) -> ContainerHost:
        from fleet.adapters.docker.docker_host import DockerHost

        if endpoint not in self._hosts:
            self._hosts[endpoint] = DockerHost(endpoint)
        return self._hosts[endpoint]
