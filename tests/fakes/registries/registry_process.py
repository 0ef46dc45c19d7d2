"""Runs a real registry (CNCF distribution, Debian's `docker-registry`) on this machine, without Docker."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.harness import share

_UNPACKED = Path(__file__).parents[3] / ".lab" / "cache" / "registry" / "usr" / "bin" / "docker-registry"


def find_registry_binary() -> Path | None:
    """Return the binary: installed, or unpacked by ``make setup``; None without it."""
    if installed := shutil.which("docker-registry"):
        return Path(installed)
    return _UNPACKED if _UNPACKED.exists() else None


@contextmanager
def registry_process(
    binary: Path, folder: Path, *, extra: str = "", tls: tuple[Path, Path] | None = None
) -> Iterator[str]:
    """Run it with its storage in ``folder`` on a free port; yield ``127.0.0.1:<port>``. ``tls``: certificate, key."""
    port = share.free_port()
    config = folder / "registry.yml"
    served = f", tls: {{certificate: {tls[0]}, key: {tls[1]}}}" if tls else ""
    config.write_text(
        "version: 0.1\nlog: {level: warn}\n"
        f"storage: {{filesystem: {{rootdirectory: {folder}/data}}, delete: {{enabled: true}}}}\n"
        f"http: {{addr: '127.0.0.1:{port}'{served}}}\n{extra}"
    )
    environment = {key: value for key, value in os.environ.items() if not key.startswith("REGISTRY_")}
    with (folder / "registry.log").open("wb") as log:
        process = subprocess.Popen([binary, "serve", config], stdout=log, stderr=log, env=environment)
        try:
            _wait_until_up(process, port, folder / "registry.log")
            yield f"127.0.0.1:{port}"
        finally:
            process.terminate()
            process.wait(timeout=60)


def _wait_until_up(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and process.poll() is None:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    raise RuntimeError(f"the registry does not listen on {port}: {log.read_text()[-2000:]}")
