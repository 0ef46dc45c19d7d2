"""The newest release that a robot ever committed: anything older needs a signed rollback order. Pure."""

from __future__ import annotations

from dataclasses import replace
from typing import Optional, Tuple

from runtime.contract.codec import ContractError, from_json
from runtime.contract.robot.trust import Proof, Statement
from runtime.contract.robot.update import UpdateOrder
from runtime.contract.versions import version_order
from runtime.updater.state.records import Floor


def raised(floor: Optional[Floor], order: Optional[UpdateOrder], signed: bool) -> Optional[Floor]:
    """Return the floor after a commit of ``order``: the highest version, the newest signature.

    ``signed``: its proof was verified; times in one that was not are nobody's word.
    """
    if order is None:
        return floor
    issued, accepted = 0.0, floor.accepted_at if floor else 0.0
    if signed and order.proof is not None:
        times = _issued(order.proof)
        issued, accepted = times[0], max(accepted, *times)
    if floor is None or place(order.version, issued) >= place(floor.version, floor.issued_at):
        return Floor(order.version, issued, accepted)
    return replace(floor, accepted_at=accepted)


def place(version: str, issued_at: float) -> Tuple[Tuple[object, ...], float]:
    """Return the sort key of a signed release; one that is no version comes before all others."""
    try:
        return version_order(version), issued_at
    except ValueError:
        return (), issued_at


def _issued(proof: Proof) -> Tuple[float, ...]:
    signed = (proof.release, proof.rollback) if proof.rollback is not None else (proof.release,)
    try:
        return tuple(from_json(Statement, each.statement).issued_at for each in signed)
    except ContractError:
        return (0.0,)
