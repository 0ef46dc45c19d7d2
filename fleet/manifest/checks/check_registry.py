"""The registry's authorities: a file of certificates, and nothing that robots must not have."""

from __future__ import annotations

import ssl
from pathlib import Path

from fleet.manifest.files.named_files import inside, why_no_file
from fleet.manifest.schema.registry_schema import RegistryRef
from fleet.manifest.yaml.report import Report, SourceFile
from fleet.manifest.yaml.yaml_text import KeyPath

_AT: KeyPath = ("registry", "ca_file")
_WANTED = (
    "name a PEM file with the certificate of the authority that signed the registry's (-----BEGIN CERTIFICATE-----)"
)
MAX_BYTES = 1 << 20


def check_registry(registry: RegistryRef, root: Path, source: SourceFile, report: Report) -> None:
    """Note what is wrong with ``ca_file``."""
    if registry.ca_file is None:
        return
    path = inside(root, root, registry.ca_file)
    if path is None:
        hint = "move the file below the folder of fleet.yaml: that folder is what is reviewed and copied"
        report.add(source, _AT, f"{registry.ca_file} is outside of the manifest's folder", hint)
    elif why := why_no_file(path) or why_no_authorities(path):
        report.add(source, _AT, f"{path} {why}", _WANTED)


def why_no_authorities(path: Path) -> str:
    """Return why a file cannot be given to robots as authorities, to follow its name; empty when it can."""
    try:
        if path.stat().st_size > MAX_BYTES:
            return "is larger than 1 MiB"
        content = path.read_bytes()
    except OSError as error:
        return f"cannot be read: {error.strerror or error}"
    if b"PRIVATE KEY" in content:
        return "holds a private key, and this file goes to every robot"
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cadata=content.decode("ascii", "ignore"))
    except (ssl.SSLError, ValueError):
        return "holds no certificate"
    return ""
