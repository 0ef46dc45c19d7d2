"""Which engines somebody signed for: the updater writes it beside the token, and the container only reads it.

Only in signed fleets. Where there is no such file nobody said that engines must be signed: an unsigned fleet, a
container that was started by hand, or an updater of before this file.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Optional, Tuple

from runtime.contract.codec import SCHEMA
from runtime.contract.node.serving import slot_word


@dataclass(frozen=True)
class SignedEngine:
    """One engine of a signed release."""

    model: str
    precision: str
    key: str
    layer_digest: str
    """``sha256:<hex>`` of the layer that holds its files, which is a function of their bytes alone."""


@dataclass(frozen=True)
class SignedEngines:
    """The engines of one signed release that were built for this robot's hardware."""

    version: str
    engines: Tuple[SignedEngine, ...]
    schema: int = SCHEMA

    def find(self, key: str, model: str, precision: str) -> Optional[SignedEngine]:
        """Return the engine that somebody signed for under this key, as this model at this precision."""
        wanted = (key, model, precision)
        return next((one for one in self.engines if (one.key, one.model, one.precision) == wanted), None)


def signed_engines_file(slot: str) -> str:
    """Return the file's name, beside the token, for the container of ``slot``."""
    return "signed-engines-{}.json".format(slot_word(slot))
