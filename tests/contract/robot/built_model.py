"""A model from its YAML to what a robot runs, by the real build. Not a test module."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from fleet.manifest.load import load_manifest
from fleet.manifest.schema.manifest_schema import ModelUse
from fleet.resolve.documents.build_job import _job
from fleet.resolve.documents.runtime_config import _model
from runtime.contract.codec import canonical_json
from runtime.contract.engine.build import GOLDEN_FILE, JOB_FILE, MODEL_FILE
from runtime.contract.node.runtime_config import RuntimeConfig
from runtime.engines.build.job import run
from tests.fakes.fleet_folder import npz, write_fleet
from tests.fakes.nodes.runtime_folder import KEY, write_config


def built(folder: Path, content: bytes, golden: dict[str, np.ndarray], model: dict[str, Any]) -> RuntimeConfig:
    """Write ``folder / "rt"``: the model's engine, named ``detector``, and what runs it. ``model``: keys of its
    file."""
    groups = {name: {"models": [{"model": "detector", "precision": "fp32"}]} for name in ("amr", "scout")}
    place = write_fleet(folder / "fleet", onnx=content, golden=golden, model=model, fleet={"groups": groups})
    loaded = load_manifest(place)
    profile, declared = loaded.profiles["sim-x86"], loaded.models["detector"]
    job = replace(_job(profile, declared, "fp32", None), key=KEY, bench_seconds=0.02)
    assert job.onnx_sha256 == hashlib.sha256(content).hexdigest()
    work = folder / "job"
    work.mkdir()
    (work / MODEL_FILE).write_bytes(content)
    (work / GOLDEN_FILE).write_bytes(npz(golden))
    (work / JOB_FILE).write_bytes(canonical_json(job))
    engine = folder / "rt" / "engines" / "detector"
    engine.parent.mkdir(parents=True)
    assert run(work, engine) == 0, (engine / "failure.json").read_text()
    use, spec = ModelUse(model="detector", precision="fp32"), SimpleNamespace(precision="fp32", key=KEY)
    configured = _model(profile, use, spec, declared)  # type: ignore[arg-type]
    config = RuntimeConfig(models=(configured,), heartbeat_timeout_s=30.0)
    write_config(folder / "rt", config)
    return config
