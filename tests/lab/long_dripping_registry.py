"""A registry that gives a byte a second: left after 90 s and said, and the order goes on when it is honest again."""

from __future__ import annotations

import pytest

from tests.lab.bays import WorkerBay
from tests.lab.faults.releases import change_every_image
from tests.lab.handover import ROBOT, Pair
from tests.lab.hostile_registry import DRIP, HONEST, hostile_registry
from tests.lab.test_hostile_registry import gateway

pytestmark = pytest.mark.xdist_group("lab-hostile-long")

LEFT = "less than 1024 bytes a second"


def test_a_registry_that_drips_is_left_and_the_same_order_goes_on_later(bay: WorkerBay) -> None:
    pair = Pair(bay.on_first(ROBOT, version="1.0.0").site)
    old = pair.only()
    since = pair.started(old.id)
    pair.publish()
    change_every_image(pair.site, 0.61)
    pair.site.fleet("build")
    pair.site.fleet("publish")
    real = pair.site.lab.registry
    host, _, port = real.partition(":")
    with hostile_registry(gateway(), real) as registry:
        pair.sh(
            f"iptables -t nat -I OUTPUT -p tcp -d {host} --dport {port} -j DNAT --to-destination {registry.address}"
        )
        registry.mode = DRIP
        rollout = pair.begin()
        pair.until("the drip to be left", lambda: LEFT in str(pair.journal()["reason"]))
        assert registry.spoiled
        assert (pair.only(), pair.started(old.id)) == (old, since), "the old release was touched"
        registry.mode = HONEST
        assert pair.end(rollout)["outcome"] == "committed"
