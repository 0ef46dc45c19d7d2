"""Three published releases of the example fleet, good, scout at int8, and one that must fail."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from dataclasses import dataclass, field
from typing import Any

import yaml

from tests.lab.site import Site


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

    def publish_others(self) -> None:
        """Publish 1.1.0 and 1.2.0 after 1.0.0."""
        self.site.set_version("1.1.0", scout="int8")
        self.publish("1.1.0")
        spoil(self.site)
        self.site.set_version("1.2.0", scout="fp32")  # one bad engine for all robots is enough
        self.publish("1.2.0")


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
