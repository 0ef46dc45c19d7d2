"""Which hosts are asked without a proxy: NO_PROXY as the Docker Engine reads it (Go's ``httpproxy``), so that operator,
Engine and updater agree. ``*.lan`` and ``.lan`` mean every name below ``lan``, ``lan`` the name itself too, ``*`` all;
addresses and networks (``10.0.0.0/8``) mean hosts that are written as addresses; ``name:port`` means that port alone.
"""

from __future__ import annotations

import ipaddress
import re
from typing import Optional, Union

_Address = Union[ipaddress.IPv4Address, ipaddress.IPv6Address]


def without_proxy(no_proxy: str, host: str, port: int) -> bool:
    """Say whether ``host`` (IPv6 without brackets) is asked directly. This machine always is."""
    name = host.lower().rstrip(".")
    address = _address(name)
    if name == "localhost" or (address is not None and address.is_loopback):
        return True
    return any(_fits(rule.lower(), name, address, port) for rule in re.split(r"[\s,]+", no_proxy) if rule)


def _fits(rule: str, name: str, address: Optional[_Address], port: int) -> bool:
    if rule == "*":
        return True
    if "/" in rule:
        try:
            return address is not None and address in ipaddress.ip_network(rule, strict=False)
        except ValueError:
            return False
    bare, wanted = _split(rule)
    if wanted and wanted != str(port):
        return False
    exact = _address(bare)
    if exact is not None:
        return exact == address
    if bare.startswith("*."):
        bare = bare[1:]
    return name.endswith(bare) if bare.startswith(".") else name == bare or name.endswith("." + bare)


def _split(rule: str) -> "tuple[str, str]":
    """Return host and port of a rule; the port is empty where there is none."""
    if rule.startswith("["):
        host, _, port = rule[1:].partition("]")
        return host, port.lstrip(":")
    host, _, port = rule.rpartition(":")
    return (host, port) if host and ":" not in host and port.isdigit() else (rule, "")


def _address(text: str) -> Optional[_Address]:
    try:
        return ipaddress.ip_address(text)
    except ValueError:
        return None
