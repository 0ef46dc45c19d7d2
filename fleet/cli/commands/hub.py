"""`fleet hub`: serve the hub, which keeps signed reports of robots and gives them to whoever asks."""

from __future__ import annotations

import ipaddress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated

import typer

from fleet.cli import options
from fleet.cli.desired import office
from fleet.cli.ui.console import emit, notice, plain, stderr
from fleet.cli.wiring import Wiring
from fleet.errors import UsageError
from fleet.signing.pins import read_pins

if TYPE_CHECKING:
    from fleet.hub.pinned import ReadPins
    from fleet.hub.serve import Listen

_DAY_S = 86400.0
_DEV, _LISTEN = "127.0.0.1:8443", "0.0.0.0:8443"


def run(
    manifest: options.ManifestOption = options.DEFAULT_MANIFEST,
    listen: Annotated[
        str, typer.Option(metavar="HOST:PORT", help=f"Where it listens. Default: {_LISTEN}; with --dev {_DEV}.")
    ] = "",
    database: Annotated[
        str, typer.Option(metavar="URL", help="A SQLite file, or postgresql://USER@HOST/NAME. Several hubs share one.")
    ] = "hub.sqlite",
    fleet: Annotated[
        str, typer.Option(metavar="NAME", help="Fleet whose reports it takes. Default: the manifest's, or the pins'.")
    ] = "",
    pins: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="The robots' pinned keys. Default: those in the manifest's registry."),
    ] = None,
    token_file: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Readers have to show what its first line says.")
    ] = None,
    tls_cert: Annotated[
        Path | None, typer.Option(metavar="FILE", help="PEM: its certificate and those of its authorities.")
    ] = None,
    tls_key: Annotated[Path | None, typer.Option(metavar="FILE", help="PEM: the certificate's key.")] = None,
    proxies: Annotated[
        str, typer.Option(metavar="ADDRESSES", help="Proxies in front of it, whose X-Forwarded-For is believed.")
    ] = "",
    keep_days: Annotated[
        float, typer.Option("--keep-days", min=0.01, max=3650, help="Reports are kept so long; the newest for ever.")
    ] = 7.0,
    dev: Annotated[
        bool, typer.Option("--dev", help="For a lab: this machine alone, a database that is dropped.")
    ] = False,
    as_json: options.Json = False,
) -> None:
    """Keep signed reports of robots and give them to readers. It holds no key and gives no orders."""
    wiring = Wiring(manifest)
    name, read = _pins(wiring, fleet, pins)
    _needs_hub_extra()
    from fleet.hub.serve import listen_at

    at = listen_at(listen or (_DEV if dev else _LISTEN), tls_cert, tls_key, proxies)
    token = _token(token_file)
    if dev and not _is_loopback(at.host):
        raise UsageError(f"--dev serves this machine alone, not {at.host}", hint="leave --listen out, or --dev")
    with TemporaryDirectory(prefix="fleet-hub-") as folder:
        url = str(Path(folder) / "hub.sqlite") if dev else database
        _serve(wiring, name, read, url, keep_days * _DAY_S, token, at, dev, as_json)


def _serve(
    wiring: Wiring,
    name: str,
    read: ReadPins | None,
    url: str,
    keep_s: float,
    token: str,
    at: Listen,
    dev: bool,
    as_json: bool,
) -> None:
    from fleet.hub.app import Hub
    from fleet.hub.database import open_database
    from fleet.hub.pinned import KnownPins
    from fleet.hub.serve import serve
    from fleet.hub.store import Keep, ReportStore

    def say(line: str) -> None:
        stderr().print(f"hub: {plain(line)}")

    def listening(where: Listen) -> None:
        document = {"fleet": name, "listening": where.url, "pins": known.now() is not None, "token": bool(token)}
        emit(as_json, document, lambda console: console.print(plain(f"hub of fleet {name} at {where.url}")))
        notice(_remarks(where, token, read is not None, dev))

    known = KnownPins(read, wiring.clock, say)
    known.refresh()
    engine = open_database(url)
    try:
        store = ReportStore(engine, Keep(seconds=keep_s))
        serve(Hub(name, store, known, wiring.clock, token=token, say=say), at, listening)
    finally:
        engine.dispose()


def _remarks(where: Listen, token: str, has_pins: bool, dev: bool) -> list[str]:
    if dev:
        return [f"for a lab: put hub: {{url: {where.url}}} into fleet.yaml, then fleet status --hub; Ctrl-C drops it"]
    said = []
    if not where.tls_cert and not where.proxies and not _is_loopback(where.host):
        said.append("without TLS anybody on the way reads the reports: give --tls-cert and --tls-key, or --proxies")
    if not token and not _is_loopback(where.host):
        said.append("anybody who reaches it may read: give --token-file")
    if not has_pins:
        said.append("no pins are known: robots are shown with the key that came first")
    return said


def _pins(wiring: Wiring, fleet: str, path: Path | None) -> tuple[str, ReadPins | None]:
    """Return the fleet, and what reads its pins. Raises UsageError, ManifestError."""
    if path is None and not fleet:
        return wiring.desired.fleet, lambda: read_pins(office(wiring)).pins
    _needs_hub_extra()
    if path is None:
        return fleet, None
    from fleet.hub.pinned import pins_of_file

    read = pins_of_file(path)
    found = read()
    assert found is not None, "a file has pins, or is refused"
    if fleet and found.fleet != fleet:
        raise UsageError(f"{path} pins robots of fleet {found.fleet}, not of {fleet}", hint="leave --fleet out")
    return found.fleet, read


def _needs_hub_extra() -> None:
    """Raise UsageError where the packages of the extra are not installed."""
    try:
        import sqlalchemy  # noqa: F401
        import starlette  # noqa: F401
        import uvicorn  # noqa: F401
    except ImportError as error:
        raise UsageError(
            f"the hub needs packages that are not installed here: {error.name}",
            hint='pip install "jetfleet[hub]" (or ".[hub]" in a checkout)',
        ) from error


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _token(path: Path | None) -> str:
    if path is None:
        return ""
    try:
        token = path.read_text(encoding="utf-8").splitlines()[:1]
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"--token-file {path} cannot be read: {error}", hint="its first line is the token") from error
    if not token or not token[0].strip() or not token[0].isascii():
        raise UsageError(
            f"--token-file {path}: its first line is no token", hint="make one: openssl rand -hex 32 > FILE"
        )
    return token[0].strip()
