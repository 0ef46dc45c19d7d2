"""How a build of several engines came out."""

from __future__ import annotations

from dataclasses import dataclass

from fleet.build.job import BuiltEngine
from fleet.errors import BuildError, EngineGateError, FleetError, GateError
from fleet.resolve.desired import EngineSpec


@dataclass(frozen=True, slots=True)
class FailedEngine:
    """One engine that is not there, and why."""

    spec: EngineSpec
    error: FleetError


@dataclass(frozen=True, slots=True)
class BuildSummary:
    """All engines of one call, in the order in which they ended."""

    built: tuple[BuiltEngine, ...]
    failed: tuple[FailedEngine, ...]
    elsewhere: tuple[EngineSpec, ...] = ()
    """Built and pushed by another operator meanwhile."""

    def error(self) -> FleetError | None:
        """Return what to raise: None, the one error, or all of them in one (exit 4 only when gates alone said no)."""
        if len(self.failed) <= 1:
            return self.failed[0].error if self.failed else None
        total = len(self.built) + len(self.failed) + len(self.elsewhere)
        distinct = dict.fromkeys((str(failed.error), failed.error.hint) for failed in self.failed)
        message = "\n".join(
            [f"{len(self.failed)} of {total} engines were not built:", *(f"- {m}" for m, _ in distinct)]
        )
        hint = "; ".join(dict.fromkeys(hint for _, hint in distinct if hint))
        gates = all(isinstance(failed.error, GateError) for failed in self.failed)
        return EngineGateError(message, hint=hint) if gates else BuildError(message, hint=hint)
