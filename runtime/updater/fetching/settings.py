"""How the Engine reaches registries: proxies, registries without TLS, authorities of its own."""

from __future__ import annotations

import ipaddress
import socket
import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Dict, List, Optional

from runtime.contract.json_decoder import ContractError, decode_object
from runtime.contract.registry.no_proxy import without_proxy
from runtime.updater.fetching.errors import Cannot

CERTS = Path("/etc/docker/certs.d")


@dataclass(frozen=True)
class Way:
    """How to speak to one registry. ``context`` None: plain HTTP only."""

    host: str
    context: Optional[ssl.SSLContext]
    plain_too: bool = False
    """Without an answer over TLS, plain HTTP may be used."""
    elsewhere: Optional[ssl.SSLContext] = None
    """For where the registry redirects to: its authorities too, as the Engine has it, but no key of ours; always
    verified. None: this machine's authorities."""


def way_to(host: str, info: Dict[str, Any], certs: Path = CERTS) -> Way:
    """Return how the Engine that said ``info`` (`docker info`) would speak to ``host``. Raises Cannot."""
    proxy = info.get("HttpsProxy") or info.get("HttpProxy")
    if proxy and not _exempt(host, str(info.get("NoProxy") or "")):
        raise Cannot("the Engine reaches registries through a proxy")
    insecure = _is_insecure(host, info.get("RegistryConfig") or {})
    elsewhere = tls_context(host, certs, insecure=False, own_keys=False)
    return Way(host, tls_context(host, certs, insecure), insecure, elsewhere)


def tls_context(host: str, certs: Path, insecure: bool, own_keys: bool = True) -> ssl.SSLContext:
    """Return the context with what is below ``certs.d/<host>``. Raises Cannot for a file that cannot be used."""
    context = ssl.create_default_context()
    folder = certs / host
    try:
        for path in sorted(folder.glob("*.crt")):
            context.load_verify_locations(cafile=str(path))
        for path in sorted(folder.glob("*.cert")) if own_keys else ():
            context.load_cert_chain(str(path), str(path.with_suffix(".key")))
    except OSError as error:  # ssl.SSLError among them
        raise Cannot("a file in {} cannot be used: {}".format(folder, error)) from error
    if insecure:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


def parse_info(text: str) -> Dict[str, Any]:
    """Return `docker info --format '{{json .}}'`. Raises Cannot."""
    try:
        return decode_object(text, "`docker info`")
    except ContractError as error:
        raise Cannot(str(error)) from error


def _is_insecure(host: str, registries: Dict[str, Any]) -> bool:
    index = (registries.get("IndexConfigs") or {}).get(host)
    if isinstance(index, dict):
        return index.get("Secure") is False
    networks = [ipaddress.ip_network(text, strict=False) for text in registries.get("InsecureRegistryCIDRs") or ()]
    return bool(networks) and any(address in network for address in _addresses(_name(host)) for network in networks)


def _addresses(name: str) -> List[Any]:
    try:
        return [ipaddress.ip_address(name.strip("[]"))]
    except ValueError:
        pass  # a name, not an address
    try:
        found = socket.getaddrinfo(name, None, proto=socket.IPPROTO_TCP)
    except OSError:
        return []  # nobody knows the name now; reaching it will say so
    return [ipaddress.ip_address(str(entry[4][0]).split("%", 1)[0]) for entry in found]


def _name(host: str) -> str:
    name, _, port = host.rpartition(":")
    return name if name and port.isdigit() else host


def _exempt(host: str, no_proxy: str) -> bool:
    name = _name(host)
    port = host[len(name) + 1 :]
    return without_proxy(no_proxy, name.strip("[]"), int(port) if port else 443)
