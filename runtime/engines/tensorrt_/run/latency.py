"""Where the time of an inference goes: copies in, kernels, copies out, host; and under which conditions."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np

from runtime.contract.codec import to_dict
from runtime.contract.engine.build import Percentiles
from runtime.engines.device.device_facts import read_jetson
from runtime.engines.golden.bench import MIN_ITERATIONS, WARM_UP_SECONDS, percentiles
from runtime.engines.tensorrt_.device import ROOT
from runtime.engines.tensorrt_.run.runner import TensorRtRunner

UNSTEADY = 0.025
"""Coefficient of variation of the kernels' time above which a measurement is flagged, as trtexec does."""


def breakdown(runner: TensorRtRunner, seconds: float, root: Path = ROOT) -> dict[str, Any]:
    """Measure for ``seconds`` after a warm-up, at least ten inferences; return milliseconds and what was on.

    Raises EngineError.
    """
    _collect(runner, WARM_UP_SECONDS, 1)
    before = conditions(root)
    samples = np.asarray(_collect(runner, seconds, MIN_ITERATIONS))
    parts = ("h2d_ms", "compute_ms", "d2h_ms", "host_ms")
    found: dict[str, Any] = {name: to_dict(percentiles(list(samples[:, i]))) for i, name in enumerate(parts)}
    variation = variation_of(samples[:, 1])
    return {
        **found,
        "compute_variation": variation,
        "unsteady": variation > UNSTEADY,
        "cuda_graph": False,
        "spin_wait": False,
        "transfers": True,
        "conditions": {"before": before, "after": conditions(root)},
    }


def host_percentiles(runner: TensorRtRunner, seconds: float) -> Percentiles:
    """Return the host's view of ``infer`` alone, milliseconds. Raises EngineError."""
    samples: list[float] = []
    clock = time.perf_counter
    warm = clock() + WARM_UP_SECONDS
    while clock() < warm:
        runner.infer()
    end = clock() + seconds
    while len(samples) < MIN_ITERATIONS or clock() < end:
        start = clock()
        runner.infer()
        samples.append((clock() - start) * 1e3)
    return percentiles(samples)


def variation_of(milliseconds: Any) -> float:
    """Return standard deviation over mean."""
    mean = float(np.mean(milliseconds))
    return float(np.std(milliseconds)) / mean if mean > 0 else 0.0


def _collect(runner: TensorRtRunner, seconds: float, at_least: int) -> list[tuple[float, float, float, float]]:
    samples: list[tuple[float, float, float, float]] = []
    clock = time.perf_counter
    end = clock() + seconds
    while len(samples) < at_least or clock() < end:
        start = clock()
        parts = runner.timed()
        samples.append((*parts, (clock() - start) * 1e3))
    return samples


def conditions(root: Path = ROOT) -> dict[str, Any]:
    """Return power mode, GPU clock and GPU temperature where this machine tells them; None where it does not."""
    return {"power_mode": read_jetson(root).power_mode, "gpu_mhz": _gpu_mhz(root), "gpu_celsius": _gpu_celsius(root)}


def _gpu_mhz(root: Path) -> float | None:
    # The node's name differs by release (17000000.gpu, 17000000.ga10b): found by its device-tree name.
    for node in sorted(root.glob("sys/class/devfreq/*")):
        if _text(node / "device/of_node/name") in ("gpu", "ga10b"):
            return _scaled(node / "cur_freq", 1e6)
    return None


def _gpu_celsius(root: Path) -> float | None:
    for zone in sorted(root.glob("sys/class/thermal/thermal_zone*")):
        if _text(zone / "type").lower().startswith("gpu"):
            return _scaled(zone / "temp", 1e3)
    return None


def _text(path: Path) -> str:
    try:
        return path.read_text("ascii", errors="replace").strip("\0\n ")
    except OSError:  # some nodes appear late, some zones cannot be read: then this fact is not known
        return ""


def _scaled(path: Path, divisor: float) -> float | None:
    text = _text(path)
    return int(text) / divisor if text.lstrip("-").isdigit() else None
