"""One look at the registry: is there another desired statement, does it count, and is there an order in it for us?"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Dict, List, Optional, Tuple, cast

from runtime.contract.codec import from_json, to_dict
from runtime.contract.json_decoder import ContractError
from runtime.contract.robot.desired import (
    DESIRED_TYPE,
    ENDED,
    PLAN_LIMITS,
    PLAN_TYPE,
    PROOF_TYPE,
    REPOSITORY,
    ROOTS_LIMITS,
    ROOTS_TAG,
    ROOTS_TYPE,
    RUNNING,
    STATEMENT_LIMITS,
    TAG,
    RootChain,
    stage_of,
)
from runtime.contract.robot.desired_rules import FORGED, DesiredRefused, Followed, judged, why_older, why_out_of_time
from runtime.contract.robot.orders import order_id_of, order_of
from runtime.contract.robot.pull_settings import PullSettings
from runtime.contract.robot.release import EnvironmentPart, ReleaseDocument, release_digest
from runtime.contract.robot.root import TrustRoot
from runtime.contract.robot.root_chain import RootRefused
from runtime.contract.robot.trust import RELEASE, Proof, Signed, Statement, document_digest
from runtime.contract.robot.update import UpdateOrder
from runtime.updater.pull.control import Control
from runtime.updater.robot.trust_folder import TrustFolder
from runtime.updater.state.records import Journal, Mark, SeenDesired
from runtime.updater.state.world import World
from runtime.updater.storage.journal import JournalStore
from runtime.updater.transaction.preflight import MAX_CLOCK_DIFFERENCE_S, Refused
from runtime.updater.transaction.standing import clock_trouble
from runtime.updater.transaction.trust import count_signers

_TYPES = [DESIRED_TYPE, PLAN_TYPE, PROOF_TYPE]
#: In its envelope a signed document is longer than its words.
_MOST = (2 * STATEMENT_LIMITS.size, 2 * PLAN_LIMITS.size, 16 << 20)
_MOST_PART, _MOST_NEWEST = 4 << 20, 1 << 20
NEWEST_TAG, NEWEST_TYPE = "newest", "application/vnd.jetfleet.newest.v1+json"


class Look:
    """``known``: digest of the artifact whose statement the journal holds; empty: it is read whatever it is."""

    def __init__(self, root: Path, settings: PullSettings, now: Mark, known: str, machine: Path = Path("/")) -> None:
        self._settings, self._now, self._known = settings, now, known
        self._trust = TrustFolder(root)
        self._journal: Journal = JournalStore(root / "state").load()[0]
        base = (root, settings.registry)
        self._control = Control(*base, "{}/{}".format(settings.prefix, REPOSITORY), machine)
        self._releases = Control(*base, settings.prefix + "/releases", machine)

    def run(self) -> Dict[str, Any]:
        """Return what was found, as JSON values. Raises DesiredRefused, Refused, UpstreamError, Cannot, WorldError."""
        digest = self._control.head(TAG, self._known)
        if not digest:
            return {"nothing": True}
        if digest == self._known:
            return {"same": True}
        root = self._root()
        trouble = clock_trouble(self._journal, self._now.wall)
        if trouble:
            raise Refused("held: " + trouble, "set the robot's clock (timedatectl set-ntp true)")
        root, note = self._newer_root(root)
        statement, plan, proof = self._artifact(digest)
        followed = judged(root, statement, plan, self._trust.judge)
        self._check_order_of_time(followed)
        seen = self._seen(followed, digest)
        found: Dict[str, Any] = {"seen": to_dict(seen), "note": note}
        if self._is_due(followed, seen):
            order = self._order(followed, from_json(Proof, self._control.blob(*proof)), root)
            found["order"] = to_dict(order)
        newest = self._newest()
        if newest is not None:
            found["newest"] = to_dict(newest)
        return found

    def _root(self) -> TrustRoot:
        held = self._trust.held_root()
        if held is None:
            raise DesiredRefused("this robot has no trust root, so it follows no statement", "run `fleet bootstrap`")
        if held.root.fleet != self._settings.fleet:
            text = "pull.json is of fleet {}, this robot's trust root of {}"
            raise DesiredRefused(text.format(self._settings.fleet, held.root.fleet), "run `fleet bootstrap` again")
        return held.root

    def _newer_root(self, root: TrustRoot) -> Tuple[TrustRoot, str]:
        """Follow the chain that the registry has; return the root that counts then, and why a chain was not followed.

        Whoever writes to the registry could as well hide the chain: one that is refused changes nothing, and is told.
        """
        if root.unsigned:
            return root, ""
        digest = self._control.head(ROOTS_TAG, "")
        if not digest:
            return root, ""
        try:
            layers = self._control.layers(digest)
            if [kind for kind, _, _ in layers] != [ROOTS_TYPE]:
                raise ContractError("something else was pushed there")
            chain = from_json(RootChain, self._control.blob(layers[0][1], ROOTS_LIMITS.size), ROOTS_LIMITS)
            return self._trust.take_root(chain.roots, self._settings.fleet).root, ""
        except ContractError as error:
            return root, "the trust roots in the registry cannot be read: {}".format(error)
        except RootRefused as refused:
            return root, "the trust roots in the registry are refused: {}".format(refused.reason)

    def _artifact(self, digest: str) -> Tuple[Signed, Signed, Tuple[str, int]]:
        try:
            layers = self._control.layers(digest)
            if [kind for kind, _, _ in layers] != _TYPES:
                raise ContractError("something else was pushed there")
            statement, plan = (from_json(Signed, self._control.blob(layers[at][1], _MOST[at])) for at in range(2))
        except ContractError as error:
            raise DesiredRefused("the desired statement cannot be read: {}".format(error), FORGED) from error
        return statement, plan, (layers[2][1], _MOST[2])

    def _check_order_of_time(self, followed: Followed) -> None:
        before, new, now = self._journal.desired, followed.desired, self._now.wall
        why = why_older(None if before is None else before.statement, new)
        if why:
            raise DesiredRefused(why, "find out who wrote to the registry; `fleet rollout` signs a newer one")
        if now < new.issued_at - MAX_CLOCK_DIFFERENCE_S:
            raise Refused(
                "held: this robot's clock lies more than a day before the desired statement",
                "set the robot's clock (timedatectl set-ntp true)",
            )

    def _seen(self, followed: Followed, digest: str) -> SeenDesired:
        desired, plan = followed.desired, followed.plan
        mine = stage_of(plan, self._settings.robot)
        return SeenDesired(
            desired,
            digest,
            mine,
            len(plan.stages),
            plan.version,
            plan.release,
            plan.expires_at,
            self._now,
            plan.override,
        )

    def _is_due(self, followed: Followed, seen: SeenDesired) -> bool:
        """Whether an order could begin by it; whether it does is decided by the one that owns the journal."""
        current = self._journal.current
        runs = current is not None and current.release_digest == seen.release
        may = followed.desired.standing in (RUNNING, ENDED) and followed.desired.stage >= seen.mine
        return may and not runs and not why_out_of_time(followed, self._now.wall)

    def _order(self, followed: Followed, proof: Proof, root: TrustRoot) -> UpdateOrder:
        """Make the order that SSH would have brought. The signatures are judged before the document is decoded."""
        plan, name = followed.plan, self._settings.robot
        if not root.unsigned:
            what, hint = "release {}".format(plan.version), "`fleet keys sign {}`".format(plan.version)
            count_signers(proof.release, RELEASE, root.settings, cast(World, self._trust), what, hint)
            if from_json(Statement, proof.release.statement).document != document_digest(proof.document):
                raise DesiredRefused("the release that lies with the plan is not the one that was signed", FORGED)
        document = from_json(ReleaseDocument, proof.document)
        if release_digest(proof.document, document.fleet, document.version) != plan.release:
            raise DesiredRefused("the release that lies with the plan is not the one that the plan names", FORGED)
        part = self._part(document, name)
        order = order_of(
            document,
            plan.release,
            name,
            order_id_of(plan.version, plan.rollout_id),
            followed.desired.issued_at,
            part.environment,
            part.secrets,
            force=plan.force,
            override=plan.override,
            stop_start=plan.stop_start,
            proof=None if root.unsigned else Proof(proof.document, proof.release, plan.rollback),
        )
        if order is None:
            hint = "publish a version whose manifest has it"
            raise DesiredRefused("release {} does not know this robot ({})".format(plan.version, name), hint)
        return order

    def _part(self, document: ReleaseDocument, robot: str) -> EnvironmentPart:
        digest = document.parts.get(robot)
        if digest is None:
            return EnvironmentPart(dict(document.environment.get(robot, {})))
        return from_json(EnvironmentPart, self._releases.blob(digest, _MOST_PART))

    def _newest(self) -> Optional[Signed]:
        """Return the statement of the newest release, judged later by whoever takes it; None without a readable one."""
        digest = self._releases.head(NEWEST_TAG, "")
        if not digest:
            return None
        try:
            layers: List[Tuple[str, str, int]] = self._releases.layers(digest)
            if [kind for kind, _, _ in layers] != [NEWEST_TYPE]:
                return None
            return from_json(Signed, self._releases.blob(layers[0][1], _MOST_NEWEST))
        except ContractError:
            return None
