"""The registry as the control plane: small documents under moving tags, asked for by their digest."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import List, Tuple
from urllib.parse import urlsplit

from runtime.contract.codec import digest_of_bytes
from runtime.contract.json_decoder import ContractError, decode_object
from runtime.contract.registry.origin import Origin, RedirectRefused, origin_of
from runtime.updater.fetching.credentials import RobotLogins
from runtime.updater.fetching.errors import UpstreamError
from runtime.updater.fetching.link import Link
from runtime.updater.fetching.reference import Reference
from runtime.updater.fetching.settings import Way, tls_context
from runtime.updater.fetching.upstream import MANIFEST_TYPES, Answer, Upstream
from runtime.updater.robot.registry_login import docker_folder, login_folder

MAX_MANIFEST = 256 * 1024
_BAD = "find out who writes to the registry; `fleet rollout` publishes it again"


class Control(Upstream):
    """One repository of the registry that ``pull.json`` names. Raises UpstreamError, Cannot."""

    def __init__(self, root: Path, address: str, repository: str, machine: Path = Path("/")) -> None:
        self._address, host = address, urlsplit(address).netloc
        secure = address.startswith("https://")
        certs = machine / "etc/docker/certs.d"
        context = tls_context(host, certs, insecure=False) if secure else None
        way = Way(host, context, not secure, tls_context(host, certs, insecure=False, own_keys=False))
        logins = RobotLogins(host, login_folder(root), docker_folder())
        link = Link(0, threading.Event())
        super().__init__(Reference(host, repository, ""), way, logins.lookup, link)

    def _probe(self) -> Origin:
        """Where it is, as the manifest says: a look costs no second connection."""
        try:
            return origin_of(self._address)
        except RedirectRefused as error:
            raise UpstreamError("{} is {}".format(self._address, error), "run `fleet bootstrap` again") from error

    def head(self, tag: str, known: str) -> str:
        """Return the digest under a tag: ``known`` when it is the same, empty when there is no such tag.

        HEAD with the known digest as entity tag: registries that honour it answer 304, the others the digest.
        """
        headers = {"Accept": MANIFEST_TYPES}
        if known:
            headers["If-None-Match"] = '"{}"'.format(known)
        answer = self.ask("HEAD", "manifests/" + tag, headers, (200, 304, 404))
        try:
            if answer.status == 404:
                return ""
            if answer.status == 304:
                return known
            digest = answer.header("Docker-Content-Digest")
        finally:
            answer.close()
        if digest.startswith("sha256:"):
            return digest
        return digest_of_bytes(self._read("manifests/" + tag, MAX_MANIFEST))

    def layers(self, digest: str) -> List[Tuple[str, str, int]]:
        """Return media type, digest and size of each layer of a manifest. Raises ContractError for anything else."""
        content = self._read("manifests/" + digest, MAX_MANIFEST)
        _check(content, digest)
        found = decode_object(content, "the manifest").get("layers")
        try:
            return [(str(each["mediaType"]), str(each["digest"]), int(each["size"])) for each in found or ()]
        except (KeyError, TypeError, ValueError) as error:
            raise ContractError("the manifest: its layers are none") from error

    def blob(self, digest: str, most: int) -> bytes:
        """Return a blob of at most ``most`` bytes, held against its digest."""
        content = self._read("blobs/" + digest, most)
        _check(content, digest)
        return content

    def _read(self, path: str, most: int) -> bytes:
        answer = self.get(path, {"Accept": MANIFEST_TYPES} if path.startswith("manifests/") else {})
        try:
            return _whole(answer, path, most)
        finally:
            answer.close()


def _whole(answer: Answer, path: str, most: int) -> bytes:
    found = bytearray()
    while True:
        piece = answer.read(65536)
        if not piece:
            return bytes(found)
        found += piece
        if len(found) > most:
            raise UpstreamError("{} is larger than {} bytes".format(path, most), _BAD)


def _check(content: bytes, digest: str) -> None:
    if digest_of_bytes(content) != digest:
        raise UpstreamError("the registry gives other content for {}".format(digest[:19]), _BAD, transient=True)
