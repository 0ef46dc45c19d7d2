"""Which modules have a DLA, and what may run on it: a model that asks for one elsewhere is refused with the reason."""

from __future__ import annotations

from fleet.manifest.checks.check_range import ranged
from fleet.manifest.schema.manifest_schema import Model, ModelUse, Profile

DLA_CORES = {"p3767-0000": 2, "p3767-0001": 1}
"""Orin NX 16 and 8 GB. Orin Nano has none."""
NEWEST_WITH_DLA = (10, 7)
"""The last TensorRT 10 that can use it; 11.4.1, which can again, is not for Orin NX."""


def why_no_dla(use: ModelUse, profile: Profile, model: Model | None) -> tuple[str, str] | None:
    """Return message and hint when ``use.dla_core`` is impossible on ``profile``; None when it is possible."""
    core, cores = use.dla_core, DLA_CORES.get(profile.module or "", 0)
    if core is None:
        return None
    if profile.backend != "tensorrt":
        return f"profile {profile.name} runs {profile.backend}, which has no DLA", _LEAVE_OUT
    if cores == 0:
        return f"profile {profile.name} is a {profile.module}, which has no DLA: of Orin, NX has", _LEAVE_OUT
    if core >= cores:
        known = " and ".join(map(str, range(cores)))
        return f"DLA core {core}, but {profile.module} has {cores}", f"write {known}"
    if _numbers(profile.tensorrt) > NEWEST_WITH_DLA:
        hint = "remove dla_core, or stay on JetPack 6 (TensorRT 8.6 or 10.3)"
        return f"TensorRT {profile.tensorrt} of profile {profile.name} cannot use the DLA: 10.7 was the last", hint
    if use.precision == "fp32":
        return f"{use.model} at fp32 on the DLA, which computes in fp16 and int8 only", "write precision: fp16 or int8"
    if model is not None and (inputs := ranged(model)):
        return f"{use.model} has a shape_range ({inputs[0]}), and the DLA takes one shape alone", _LEAVE_OUT
    return None


_LEAVE_OUT = "remove dla_core: the model then runs on what the profile has"


def _numbers(version: str | None) -> tuple[int, ...]:
    return tuple(int(part) for part in (version or "0").split(".")[:2])
