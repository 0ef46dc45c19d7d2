"""Releases to switch between: three good ones that differ on every robot, and one that must fail."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

import yaml

from fleet.cli.wiring import Wiring
from fleet.oci.releases import PublishedRelease, load_release
from fleet.rollout.orders import order_for
from runtime.contract.robot.update import UpdateOrder
from tests.lab.road import Road, spoil
from tests.lab.site import Site

GOOD, BAD = ("2.0.0", "2.1.0", "2.2.0"), "2.3.0"


@dataclass
class Releases:
    """What was published, and the orders made of it."""

    site: Site
    published: dict[str, PublishedRelease]

    def order(self, robot: str, version: str) -> UpdateOrder:
        """Return a new order; forced, because the bad release is banned from its second case on."""
        release, wiring = self.published[version], Wiring(self.site.folder)
        desired = next(each for each in wiring.desired.robots if each.name == robot)
        made = order_for(release.document, release.digest, desired, issued_at=time.time(), force=True)
        assert made is not None
        return made


def publish_releases(road: Road, versions: Sequence[str] = (*GOOD, BAD)) -> Releases:
    """Publish them beside the road's own releases, whose engines are used again; its manifest is that of 1.0.0."""
    site = road.site
    manifest = site.manifest()
    manifest["rollout"].update(soak="1s")
    site.save(manifest)
    wiring = Wiring(site.folder)
    published = {}
    for version in versions:
        change_every_image(site, 0.6 + (*GOOD, BAD).index(version) / 100)
        if version == BAD:
            spoil(site)
        site.set_version(version, scout="fp32" if version == BAD else "int8")
        site.fleet("build")
        site.fleet("publish")
        published[version] = load_release(wiring.registry, wiring.desired.registry.prefix, version)
    return Releases(site, published)


def change_every_image(site: Site, box_threshold: float) -> None:
    """Set a value of the runtime's configuration: another image for every robot, of the same engines."""
    path = site.folder / "models" / "sign_text.yaml"
    model = yaml.safe_load(path.read_text(encoding="utf-8"))
    model["outputs"][0]["decoder"]["options"]["box_threshold"] = box_threshold
    path.write_text(yaml.safe_dump(model, sort_keys=False), encoding="utf-8")
