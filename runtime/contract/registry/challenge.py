"""What a server asks for when it answers 401: WWW-Authenticate as RFC 9110 (section 11.6.1) writes it."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Dict, List, Match, Optional, Tuple

#: No challenge is longer; what stands beyond is not read.
_MAX_CHARS = 16384
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_PARAMETER = re.compile(r"([!#$%&'*+.^_`|~0-9A-Za-z-]+)[ \t]*=[ \t]*(?:\"((?:[^\"\\]|\\.)*)\"|([^\s,\"]+))", re.DOTALL)
_TOKEN68 = re.compile(r"[A-Za-z0-9._~+/-]+=*(?=[ \t]*(?:,|$))")
_SPACE = re.compile(r"[\s,]*")


@dataclass(frozen=True)
class Challenge:
    """One way to prove who one is."""

    scheme: str
    """Lower case: ``basic``, ``bearer``."""
    parameters: Dict[str, str] = field(default_factory=dict)
    """Names in lower case; ``realm``, ``service``, ``scope``, ``error``."""


def parse_challenges(header: str) -> Tuple[Challenge, ...]:
    """Return the challenges of a header, several header lines joined by commas. What cannot be read is left out."""
    text = header[:_MAX_CHARS]
    found: List[Challenge] = []
    at = 0
    while at < len(text):
        at = _end(_SPACE.match(text, at), at)
        parameter = _PARAMETER.match(text, at)
        if parameter and found:
            value = parameter.group(2) if parameter.group(2) is not None else parameter.group(3)
            found[-1].parameters.setdefault(parameter.group(1).lower(), re.sub(r"\\(.)", r"\1", value, flags=re.DOTALL))
            at = parameter.end()
            continue
        scheme = _TOKEN.match(text, at)
        if scheme is None:
            at += 1
            continue
        found.append(Challenge(scheme.group(0).lower()))
        at = scheme.end()
        blank = re.compile(r"[ \t]*").match(text, at)
        after = _end(blank, at)
        if after > at and not _PARAMETER.match(text, after):
            at = _end(_TOKEN68.match(text, after), at)
    return tuple(found)


def _end(match: Optional[Match[str]], otherwise: int) -> int:
    return match.end() if match else otherwise
