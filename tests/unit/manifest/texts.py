"""The three files of a valid fleet as text, for tests that break them line by line."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from fleet.errors import ManifestError, Problem
from fleet.manifest.load import load_manifest
from tests.fakes.fleet_folder import tiny_onnx, write_fleet

SHA = hashlib.sha256(tiny_onnx()).hexdigest()

FLEET = """\
apiVersion: jetfleet/v1
fleet: testing
version: 1.0.0
registry: {address: "registry.test:5000/testing", plain_http: true}
trust: unsigned
profiles: [profiles/sim-x86.yaml]
models:
  - models/detector.yaml
defaults: {profile: sim-x86, user: jetson}
groups:
  amr:
    labels: {site: hall-1}
    models: [{model: detector, precision: fp32}]
  scout: {models: [{model: detector, precision: fp16}]}
robots:
  - {name: amr-001, host: 10.0.0.11, group: amr}
  - {name: amr-002, host: 10.0.0.12, group: amr}
  - {name: scout-001, host: 10.0.0.13, group: scout}
rollout: {waves: [1, 100%], soak: 1s}
"""

PROFILE = """\
name: sim-x86
platform: linux/amd64
backend: onnxruntime
base_image: debian:bookworm
ros_distro: kilted
power_modes: [15W, MAXN]
"""

JETSON = """\
name: sim-x86
platform: linux/arm64
backend: tensorrt
base_image: nvcr.io/nvidia/l4t-tensorrt:r10.3.0-runtime
ros_distro: humble
module: p3767-0003
l4t: 36.4.3
tensorrt: 10.3.0.30
cuda: "12.6"
sm_count: 8
power_modes: [15W, 25W, MAXN_SUPER]
"""

MODEL = f"""\
name: detector
source:
  path: onnx/detector.onnx
  sha256: {SHA}
inputs:
  - tensor: image
    shape: [1, 3, 8, 8]
    topic: /camera/image_raw
    encoding: rgb8
    width: 16
    height: 12
    preprocess:
      color: bgr
      mean: [0.5, 0.5, 0.5]
      std: [0.2, 0.2, 0.2]
outputs:
  - tensor: scores
    topic: ~/detector/scores
    decoder: {{name: tensor}}
precisions:
  int8: {{calibration: calibration}}
golden: {{data: golden/detector.npz}}
gates:
  latency_p99: {{sim-x86: 250ms}}
"""

TEXTS = {"fleet": FLEET, "profile": PROFILE, "jetson": JETSON, "model": MODEL}
FILES = {
    "fleet": "fleet.yaml",
    "profile": "profiles/sim-x86.yaml",
    "jetson": "profiles/sim-x86.yaml",
    "model": "models/detector.yaml",
}


@dataclass(frozen=True)
class Case:
    """One way to break one file."""

    name: str
    file: str
    old: str
    """Replaced by ``new``; empty means the whole text is ``new``."""
    new: str
    path: str
    """Key path of the expected problem."""
    says: str
    """Part of its message."""
    hint: str
    """Part of its hint."""
    at: str = ""
    """Text of the line that the problem must name; empty: the first line of ``new``."""


def broken(case: Case, folder: Path) -> tuple[Problem, ...]:
    """Write the fleet with one file broken; return all problems found."""
    base = TEXTS[case.file]
    assert case.old in base, f"{case.old!r} is not in the file that {case.name} breaks"
    text = base.replace(case.old, case.new, 1) if case.old else case.new
    return problems_of(folder, **{case.file.replace("jetson", "profile"): text})


def problems_of(folder: Path, **texts: Any) -> tuple[Problem, ...]:
    """Write a fleet with these texts (fleet, profile, model) and return its problems; data by `write_fleet`'s names."""
    data = {key: texts.pop(key) for key in ("onnx", "golden", "calibration") if key in texts}
    files = {f"{key}_text": texts.get(key, TEXTS[key]) for key in ("fleet", "profile", "model")}
    write_fleet(folder, **files, **data)
    with pytest.raises(ManifestError) as caught:
        load_manifest(folder)
    assert caught.value.exit_code == 2
    return caught.value.problems


def line_of(text: str, part: str) -> int:
    """Return the 1-based line of the first line with ``part``."""
    return next(number for number, line in enumerate(text.split("\n"), 1) if part in line)


CASES_OF_FORM = [
    (FLEET, "fleet: testing", "fleeet: testing"),
    (FLEET, "version: 1.0.0", "version: 1.10"),
    (FLEET, "soak: 1s", "soak: 30"),
    (FLEET, "[1, 100%]", "[0, 100%]"),
    (FLEET, "precision: fp32", "precision: fp8"),
    (FLEET, "{name: amr-002, host", "{hots"),
    (PROFILE, "onnxruntime", "tflite"),
    (MODEL, "rgb8", "yuv444"),
    (MODEL, "250ms", "250"),
]
"""Text, what is replaced, by what: wrong already without looking at other files."""
