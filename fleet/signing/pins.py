"""The robots that belong to a fleet by their SSH host keys: a signed document in the registry, no operator's file."""

from __future__ import annotations

import base64
import binascii
import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from fleet.errors import RegistryError, UsageError
from fleet.oci.image_spec import EMPTY, MANIFEST, Bytes, Descriptor, manifest_bytes, parse_manifest, place
from fleet.oci.skim import bounded, said
from fleet.signing.desired import Office
from fleet.signing.fingerprint import fingerprint
from runtime.contract.codec import canonical_json, from_json
from runtime.contract.json_decoder import Limits
from runtime.contract.robot.desired import PINS_TAG, PINS_TYPE, Pins
from runtime.contract.robot.trust import NAMESPACES, PINS, Signed, why_too_few

_EMPTY = Bytes.of(b"{}")
LIMITS = Limits(size=16 << 20, depth=4, values=100_000, text=16 << 20)
"""A hundred bytes a robot and its key: ten thousand robots are some 1.2 MB."""


@dataclass(frozen=True, slots=True)
class PinsStanding:
    """The pins that the registry has, judged by the root."""

    pins: Pins
    """Empty, of generation 0, where there are none that count."""
    signed: Signed | None = None
    missing: str = ""
    """Who still has to sign the newest ones; they do not count until then."""
    problem: str = ""
    """Why there are none that count."""
    unpublished: Pins | None = None
    """What ``missing`` is about."""


def read_pins(office: Office) -> PinsStanding:
    """Return the pins that enough signers signed. Raises RegistryError."""
    nothing = Pins(office.root.fleet, 0, {})
    counting = _judged(office, PINS_TAG)
    pending = _judged(office, _PENDING) if office.root.threshold > 1 else None
    base = PinsStanding(nothing, problem="no robot is pinned yet") if counting is None else counting
    if counting is not None and counting.missing:
        base = PinsStanding(nothing, problem=f"the pins are {counting.missing}")
    if pending is not None and pending.missing and pending.pins.generation > base.pins.generation:
        return dataclasses.replace(base, missing=pending.missing, unpublished=pending.pins)
    return base


_PENDING = "pins-next"
"""Where pins wait for further signers, in fleets where more than one has to sign."""


def _judged(office: Office, tag: str) -> PinsStanding | None:
    try:
        signed = _load(office, tag)
    except (ValueError, RecursionError, OverflowError) as error:
        return PinsStanding(Pins(office.root.fleet, 0, {}), missing=f"not readable: {said(error)}")
    if signed is None:
        return None
    missing = _missing(office, signed)
    if missing and not _any_signer(office, signed):
        return PinsStanding(Pins(office.root.fleet, 0, {}), missing=missing)
    try:
        pins = from_json(Pins, signed.statement, LIMITS)
    except ValueError as error:
        return PinsStanding(Pins(office.root.fleet, 0, {}), missing=f"not readable: {said(error)}")
    if (pins.kind, pins.fleet) != (PINS, office.root.fleet):
        return PinsStanding(Pins(office.root.fleet, 0, {}), missing=f"{pins.kind} of fleet {pins.fleet}")
    return PinsStanding(pins, signed, missing)


def _missing(office: Office, signed: Signed) -> str:
    if office.root.unsigned:
        return ""
    facts = [office.judge(office.root, signed.statement, each, NAMESPACES[PINS]) for each in signed.signatures[:16]]
    return why_too_few(facts, office.root.threshold)


def _any_signer(office: Office, signed: Signed) -> bool:
    return any(office.judge(office.root, signed.statement, each, NAMESPACES[PINS]).counts for each in signed.signatures)


def _load(office: Office, tag: str) -> Signed | None:
    found = office.registry.get_manifest(office.repository, tag)
    if found is None:
        return None
    layers = parse_manifest(found, place(office.registry, office.repository, tag)).layers
    if [layer.media_type for layer in layers] != [PINS_TYPE]:
        raise ValueError("something else was pushed there")
    bounded(layers[0].size, "the pins", LIMITS.size)
    return from_json(Signed, office.registry.read_blob(office.repository, layers[0].digest), LIMITS)


def with_key(pins: Pins, robot: str, key: str, now: float) -> Pins:
    """Return the pins with a robot's public host key in them; the robot is no longer retired. Raises UsageError.

    One key is one robot: a card that was copied is refused here, and not first when two robots report as one.
    """
    key = plain_key(key)
    for other, known in pins.robots.items():
        if known == key and other != robot:
            raise UsageError(
                f"{robot} has the host key of {other}: two robots cannot share one",
                hint=f"make a new one at the robot (sudo rm /etc/ssh/ssh_host_*; sudo ssh-keygen -A), or, when "
                f"{other} was renamed, first: fleet enroll retire {other}",
            )
    if pins.robots.get(robot) == key and robot not in pins.retired:
        return pins
    retired = tuple(name for name in pins.retired if name != robot)
    return _next(pins, {**pins.robots, robot: key}, retired, now)


def without(pins: Pins, robot: str, now: float) -> Pins:
    """Return the pins with a robot retired: its reports count no more. Raises UsageError for one that is not there."""
    if robot not in pins.robots:
        if robot in pins.retired:
            return pins
        raise UsageError(f"{robot} is not pinned", hint="fleet enroll list shows who is")
    kept = {name: key for name, key in pins.robots.items() if name != robot}
    return _next(pins, kept, tuple(sorted({*pins.retired, robot})), now)


def _next(pins: Pins, robots: Mapping[str, str], retired: tuple[str, ...], now: float) -> Pins:
    generation = max(int(now), pins.generation + 1)
    return dataclasses.replace(
        pins, robots=dict(robots), retired=retired, generation=generation, issued_at=float(int(now))
    )


def words_for(standing: PinsStanding, wanted: Pins) -> Pins:
    """Return the words to sign: those that wait for further signers, where they say the same as ``wanted``."""
    waiting = standing.unpublished
    same = waiting is not None and (waiting.robots, waiting.retired) == (wanted.robots, wanted.retired)
    return waiting if waiting is not None and same else wanted


def publish_pins(office: Office, pins: Pins, key: Path | None) -> PinsStanding:
    """Sign pins and put them into the registry; they count once enough signers signed the same.

    Raises UsageError for a key that may not sign them, RegistryError also when another program published meanwhile.
    """
    text = canonical_json(pins).decode()
    signatures: list[str] = []
    if not office.root.unsigned:
        if key is None:
            raise UsageError("no key to sign the pinned host keys", hint="set trust/sign_with in fleet.yaml")
        made = office.signer.sign(text.encode(), NAMESPACES[PINS], key)
        fact = office.judge(office.root, text, made, NAMESPACES[PINS])
        if not fact.counts:
            raise UsageError(
                f"{key} may not sign the pinned host keys: {fact.problem}",
                hint=f'its line in allowed_signers needs the namespace {NAMESPACES[PINS]} (namespaces="jetfleet.*")',
            )
        signatures = [*_others(office, text, fact.key), made]
    signed = Signed(text, tuple(signatures))
    missing = _missing(office, signed)
    tag = _PENDING if missing else PINS_TAG
    _put(office, tag, signed)
    if missing:
        return dataclasses.replace(read_pins(office), missing=missing, unpublished=pins)
    return PinsStanding(pins, signed)


def _others(office: Office, text: str, mine: str) -> list[str]:
    """Return what other signers signed of the same words, where those still wait."""
    try:
        waiting = _load(office, _PENDING)
    except (ValueError, RecursionError, OverflowError):
        return []
    if waiting is None or waiting.statement != text:
        return []
    judged = [(each, office.judge(office.root, text, each, NAMESPACES[PINS])) for each in waiting.signatures[:16]]
    return [each for each, fact in judged if fact.counts and fact.key != mine]


def _put(office: Office, tag: str, signed: Signed) -> None:
    blob = Bytes.of(canonical_json(signed))
    layer = Descriptor(PINS_TYPE, blob.digest, blob.size)
    body = manifest_bytes(Descriptor(EMPTY, _EMPTY.digest, _EMPTY.size), [layer], artifact_type=PINS_TYPE)
    office.registry.push_blob(office.repository, _EMPTY)
    office.registry.push_blob(office.repository, blob)
    digest = office.registry.put_manifest(office.repository, tag, body, MANIFEST)
    if office.registry.head_manifest(office.repository, tag) != digest:
        raise RegistryError(
            f"{office.repository}:{tag} was published by another program at the same time", hint="run this again"
        )


def plain_key(text: str) -> str:
    """Return ``TYPE BASE64`` of a public key's line, without comment. Raises UsageError."""
    words = text.split()
    try:
        kind, blob = words[0], words[1]
        content = base64.b64decode(blob, validate=True)
        length = int.from_bytes(content[:4], "big")
        if content[4 : 4 + length] != kind.encode() or len(content) <= 4 + length:
            raise ValueError
    except (IndexError, ValueError, binascii.Error) as error:
        raise UsageError(
            f"{text[:60]!r} is not a public key", hint="give a line of ssh_host_ed25519_key.pub: ssh-ed25519 AAAA…"
        ) from error
    return f"{kind} {blob}"


def fingerprint_of(key: str) -> str:
    """Return ``SHA256:…`` of a public key's line, as `ssh-keygen -l` prints it. Raises UsageError."""
    return fingerprint(base64.b64decode(plain_key(key).split()[1]))
