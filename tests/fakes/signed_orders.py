"""Orders with a proof: the document that they come from, and whoever signed for it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from runtime.contract.codec import canonical_json
from runtime.contract.robot.release import ReleaseDocument, release_digest
from runtime.contract.robot.trust import NAMESPACES, RELEASE, ROLLBACK, Proof, Signed, Statement, document_digest
from runtime.contract.robot.update import UpdateOrder
from tests.fakes.robots.robot_world import START, fake_signature

ANNA, BEN, EVE = "SHA256:anna", "SHA256:ben", "SHA256:eve"
DAY = 86400.0

Sign = Callable[[str, str, str], str]
"""(key, statement, namespace) → armored signature."""


def document_of(order: UpdateOrder, **changes: Any) -> ReleaseDocument:
    """Return a release from which ``order`` could come."""
    document = ReleaseDocument(
        fleet=order.fleet,
        version=order.version,
        variants=(order.variant,),
        robots={order.robot: order.variant.name},
        tags={},
        compose=dict(order.compose),
        probation=order.probation,
        environment={order.robot: dict(order.environment)} if order.environment else {},
    )
    return replace(document, **changes)


def statement_of(of: ReleaseDocument, kind: str = RELEASE, **changes: Any) -> Statement:
    """Return what signers of a release sign: now, for 90 days; a rollback order for a day."""
    lasts = 90 * DAY if kind == RELEASE else DAY
    statement = Statement(
        kind=kind,
        fleet=of.fleet,
        version=of.version,
        document=document_digest(canonical_json(of).decode()),
        issued_at=START,
        expires_at=START + lasts,
        robots=("*",) if kind == ROLLBACK else (),
    )
    return replace(statement, **changes)


def signed(statement: Statement, keys: Sequence[str], sign: Sign = fake_signature, namespace: str = "") -> Signed:
    """Return ``statement`` with a signature of each of ``keys``."""
    text = canonical_json(statement).decode()
    where = namespace or NAMESPACES[statement.kind]
    return Signed(text, tuple(sign(key, text, where) for key in keys))


def prove(
    order: UpdateOrder,
    keys: Sequence[str] = (ANNA,),
    *,
    document: ReleaseDocument | None = None,
    rollback: Statement | None = None,
    sign: Sign = fake_signature,
    **statement: Any,
) -> UpdateOrder:
    """Return ``order`` with its proof; ``statement`` changes what is signed, ``rollback`` is signed too."""
    document = document or document_of(order)
    release = signed(statement_of(document, **statement), keys, sign)
    back = None if rollback is None else signed(rollback, keys, sign)
    text = canonical_json(document).decode()
    digest = release_digest(text, document.fleet, document.version)
    return replace(order, release_digest=digest, proof=Proof(text, release, back))
