"""What a builder says about what it built: an in-toto statement with SLSA's provenance predicate. Pure.

Sources: in-toto attestation framework, Statement v1; SLSA v1.0, Provenance (slsa.dev/spec/v1.0/provenance). All but
``runDetails`` is a function of manifest and artifact, so a verifier writes it again and compares, word for word.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any

from runtime.contract.codec import canonical_json
from runtime.contract.json_decoder import decode

STATEMENT_TYPE = "https://in-toto.io/Statement/v1"
PREDICATE_TYPE = "https://slsa.dev/provenance/v1"
#: Namespace of builders' SSH signatures.
PROVENANCE = "jetfleet.provenance"

ENGINE = "https://jetfleet.io/build/engine/v1"
BASE_IMAGE = "https://jetfleet.io/build/base-image/v1"
_BUILDERS = "https://jetfleet.io/builders/"


@dataclass(frozen=True, slots=True)
class Build:
    """One thing that was to be built, and what from."""

    kind: str
    """Build type: :data:`ENGINE` or :data:`BASE_IMAGE`."""
    name: str
    """``engines:<key's hex>`` or ``bases:<tag>``."""
    profile: str
    parameters: Mapping[str, str]
    """What was asked for."""
    materials: Mapping[str, str]
    """URI → ``sha256:<hex>``: what went in, the recipe of the builder or image among it."""

    def definition(self, digest: str) -> dict[str, Any]:
        """Return the statement about the artifact with this manifest digest (``sha256:<hex>``), without the run."""
        return {
            "_type": STATEMENT_TYPE,
            "subject": [{"name": self.name, "digest": {"sha256": digest.removeprefix("sha256:")}}],
            "predicateType": PREDICATE_TYPE,
            "predicate": {
                "buildDefinition": {
                    "buildType": self.kind,
                    "externalParameters": dict(self.parameters),
                    "internalParameters": {},
                    "resolvedDependencies": [
                        {"uri": uri, "digest": {"sha256": found.removeprefix("sha256:")}}
                        for uri, found in sorted(self.materials.items())
                    ],
                }
            },
        }


def statement(build: Build, digest: str, *, version: str, run: str, started: float, finished: float) -> bytes:
    """Return what a builder signs. ``version``: of jetfleet; ``run``: an id; times in Unix seconds."""
    document = build.definition(digest)
    document["predicate"]["runDetails"] = {
        "builder": {"id": _BUILDERS + build.profile, "version": {"jetfleet": version}},
        "metadata": {"invocationId": run, "startedOn": _rfc3339(started), "finishedOn": _rfc3339(finished)},
    }
    return canonical_json(document)


def why_not(payload: bytes, build: Build, digest: str) -> str:
    """Say in what a statement is not about this build and this artifact; empty when it is.

    Call it with what was verified only. Raises what a decoder raises at junk.
    """
    document = decode(payload, "it")
    if not isinstance(document, dict) or not isinstance(document.get("predicate"), dict):
        return "it is not an in-toto statement"
    said = {**document, "predicate": {**document["predicate"]}}
    said["predicate"].pop("runDetails", None)
    return _difference(said, build.definition(digest), "")


def _difference(said: Any, wanted: Any, path: str) -> str:
    if isinstance(said, dict) and isinstance(wanted, dict):
        for key in sorted({*map(str, said), *wanted}):
            found = _difference(said.get(key), wanted.get(key), f"{path}/{key}" if path else key)
            if found:
                return found
        return ""
    if isinstance(said, list) and isinstance(wanted, list) and len(said) == len(wanted):
        pairs = enumerate(zip(said, wanted, strict=True))
        return next(filter(None, (_difference(a, b, f"{path}/{at}") for at, (a, b) in pairs)), "")
    if said == wanted:
        return ""
    return f"its {path} is {json.dumps(said)[:100]}, expected is {json.dumps(wanted)[:100]}"


def _rfc3339(moment: float) -> str:
    return f"{datetime.fromtimestamp(moment, timezone.utc):%Y-%m-%dT%H:%M:%SZ}"
