"""Which engines a container may be given while it runs: those of the signed release. Pure."""

from __future__ import annotations

from typing import List

from runtime.contract.codec import ContractError, from_json
from runtime.contract.node.signed_engines import SignedEngine, SignedEngines
from runtime.contract.robot.release import ReleaseDocument, ReleaseVariant
from runtime.contract.robot.update import UpdateOrder


def signed_engines(order: UpdateOrder) -> SignedEngines:
    """Return the engines of an order's release that were built for this hardware.

    The order is one that was verified here: its proof's document is the one that was signed.
    """
    variants: List[ReleaseVariant] = [order.variant]
    if order.proof is not None:
        try:
            document = from_json(ReleaseDocument, order.proof.document)
        except ContractError:  # of another time: what the image holds was signed for all the same
            document = None
        if document is not None:
            variants += [one for one in document.variants if one.requires == order.variant.requires]
    found = {
        SignedEngine(engine.model, engine.precision, engine.key, engine.layer_digest)
        for variant in variants
        for engine in variant.engines + variant.standby
    }
    return SignedEngines(order.version, tuple(sorted(found, key=lambda one: (one.model, one.precision, one.key))))
