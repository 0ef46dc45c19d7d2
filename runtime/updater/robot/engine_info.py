"""What an Engine says of itself (`docker info`): where its images lie, its runtimes, how it speaks to 127.0.0.1."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Dict, Tuple

#: What the containerd image store calls itself (Docker 29 begins with it).
_SNAPSHOTTER = "io.containerd.snapshotter.v1"
_CONTAINERD, _SOCKET = "/var/lib/containerd", "run/containerd/containerd.sock"
_ROOT = re.compile(r"""^root\s*=\s*["']([^"'\n]+)["']""", re.MULTILINE)


def images_folder(info: Dict[str, Any], machine: Path) -> str:
    """Return the folder that holds images and what containers write: the Engine's own, or its containerd's.

    A containerd of the system says where in its configuration; one that the Engine starts lies in the Engine's folder.
    """
    root = str(info.get("DockerRootDir") or "")
    pairs = [pair for pair in info.get("DriverStatus") or () if isinstance(pair, list) and len(pair) == 2]
    if (["driver-type", _SNAPSHOTTER]) not in pairs:
        return root
    told = info.get("Containerd")
    address = str(told.get("Address") or "") if isinstance(told, dict) else ""
    if "/docker/" in address or (not address and not (machine / _SOCKET).exists()):
        return root + "/containerd/daemon"
    try:
        found = _ROOT.search((machine / "etc/containerd/config.toml").read_text("utf-8", "replace"))
    except OSError:  # none: what is built in holds
        found = None
    return found[1] if found else _CONTAINERD


def runtimes(info: Dict[str, Any]) -> Tuple[str, ...]:
    """Return the names of its container runtimes; empty when it does not say."""
    found = info.get("Runtimes")
    return tuple(sorted(found)) if isinstance(found, dict) else ()


def plain_loopback(info: Dict[str, Any]) -> bool:
    """Say whether it speaks plain HTTP to a registry on 127.0.0.1.

    Docker 29.10 and newer do not by themselves once any other registry is named in `insecure-registries`.
    """
    registries = info.get("RegistryConfig")
    networks = registries.get("InsecureRegistryCIDRs") if isinstance(registries, dict) else None
    if not isinstance(networks, list):
        return True  # it does not say
    return any(str(network) in ("127.0.0.0/8", "0.0.0.0/0", "127.0.0.1/32") for network in networks)
