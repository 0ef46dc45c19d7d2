"""Three published releases of the example fleet, made once a session: good, scout at int8, and one that must fail."""

from __future__ import annotations

import hashlib
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from fleetbox.running import RunningLab

from tests.lab.site import Site

PREFIX = "road"


@dataclass
class Road:
    """The site, and what the commands that published the releases printed."""

    site: Site
    builds: dict[str, Any] = field(default_factory=dict)
    """Version → `fleet build --json`."""
    publishes: dict[str, Any] = field(default_factory=dict)
    """Version → `fleet publish --json`."""

    def publish(self, version: str) -> None:
        """Build what is missing and publish the manifest as it is."""
        self.builds[version] = self.site.fleet_json("build")
        self.publishes[version] = self.site.fleet_json("publish")


def make_road(lab: RunningLab, folder: Path) -> Road:
    """Publish 1.0.0, 1.1.0 and 1.2.0 into an empty corner of the lab's registry."""
    road = Road(Site.create(lab, folder, f"{PREFIX}-{int(time.time())}"))
    road.publish("1.0.0")
    road.site.set_version("1.1.0", scout="int8")
    road.publish("1.1.0")
    spoil(road.site)
    road.site.set_version("1.2.0")
    road.publish("1.2.0")
    return road


def spoil(site: Site) -> None:
    """Replace the model by a badly retrained one, the build's accuracy gate waived."""
    models = site.folder / "models"
    bad = models / "onnx" / "retrained.onnx"
    spoiler = [sys.executable, str(models / "spoil_model.py"), str(models / "onnx" / "sign_text.onnx"), str(bad)]
    subprocess.run(spoiler, check=True, capture_output=True, timeout=120)
    path = models / "sign_text.yaml"
    model = yaml.safe_load(path.read_text(encoding="utf-8"))
    model["source"] = {"path": "onnx/retrained.onnx", "sha256": hashlib.sha256(bad.read_bytes()).hexdigest()}
    model["gates"]["waive_build_accuracy"] = "hotfix"
    path.write_text(yaml.safe_dump(model, sort_keys=False), encoding="utf-8")
