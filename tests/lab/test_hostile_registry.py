"""A registry that somebody took over: whatever a robot is given, the old release runs, and a sentence says what came.

What is swapped before it is published, signature tags and damaged blobs on the registry's disk are in test_trust.py; a
registry that drips takes 90 s to be left, and is in tests/contract/updater/test_fetching.py.
"""

from __future__ import annotations

import ipaddress
import os

import pytest

from tests.lab.bays import WorkerBay
from tests.lab.faults.releases import change_every_image
from tests.lab.handover import ROBOT, Pair
from tests.lab.hostile_registry import ELSEWHERE, ENDLESS, HONEST, MANIFEST, OTHER_BYTES, hostile_registry

pytestmark = pytest.mark.xdist_group("lab-hostile")

SENTENCES = {
    OTHER_BYTES: "digest mismatch: the registry's bytes do not have the digest sha256:",
    ENDLESS: "digest mismatch: the registry's bytes do not have the digest sha256:",
    MANIFEST: "digest mismatch: the registry's manifest does not have the digest sha256:",
}


def gateway() -> str:
    """This machine's address in the lab's network."""
    return str(next(ipaddress.IPv4Network(os.environ.get("JETFLEET_LAB_SUBNET", "172.30.77.0/24")).hosts()))


def test_what_a_hostile_registry_gives_never_runs_and_an_honest_one_is_heard_again(bay: WorkerBay) -> None:
    pair = Pair(bay.on_first(ROBOT, version="1.0.0").site)
    old = pair.only()
    since = pair.started(old.id)
    pair.publish()
    change_every_image(pair.site, 0.61)  # another layer, which the robot must fetch
    pair.site.fleet("build")
    pair.site.fleet("publish")
    real = pair.site.lab.registry
    host, _, port = real.partition(":")
    with hostile_registry(gateway(), real) as registry:
        rule = f"OUTPUT -p tcp -d {host} --dport {port} -j DNAT --to-destination {registry.address}"
        pair.sh(f"iptables -t nat -I {rule}")
        try:
            for mode, sentence in SENTENCES.items():
                registry.mode, registry.spoiled = mode, []
                result = pair.end(pair.begin(), 4)
                assert (result["outcome"], registry.spoiled != []) == ("refused", True), (mode, result)
                assert sentence in result["reason"], (mode, result)
                assert (pair.only(), pair.started(old.id)) == (old, since), f"{mode}: the old release was touched"
            registry.mode, registry.spoiled = ELSEWHERE, []
            rollout = pair.begin()
            leads = f"the registry redirects to http://{registry.address}, which answers 401"
            pair.until("the redirect to be told", lambda: pair.said(leads))
            assert pair.started(old.id) == since
            registry.mode = HONEST
            assert pair.end(rollout)["outcome"] == "committed", "the same order, once the registry is honest"
            assert registry.told == [], "nobody was told who the robot is"
        finally:
            pair.sh(f"iptables -t nat -D {rule}")
