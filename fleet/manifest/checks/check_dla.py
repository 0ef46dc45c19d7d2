"""Which modules have a DLA, and what may run on it: a model that asks for one elsewhere is refused with the reason."""

from __future__ import annotations

from fleet.manifest.checks.check_range import ranged
from fleet.manifest.schema.manifest_schema import Model, ModelUse, Profile
from runtime.contract.jetson import MODULES

NEWEST_WITH_DLA = (10, 7)
"""The last TensorRT 10 that can use it; 11.4.1, which can again, is not for Orin NX."""


def why_no_dla(use: ModelUse, profile: Profile, model: Model | None) -> tuple[str, str] | None:
    """Return message and hint when ``use.dla_core`` is impossible on ``profile``; None when it is possible."""
    core = use.dla_core
    if core is None:
        return None
    found = MODULES.get(profile.module or "")
    cores = 0 if found is None else found.dla_cores
    if profile.backend != "tensorrt":
        return f"profile {profile.name} runs {profile.backend}, which has no DLA", _LEAVE_OUT
    if cores == 0:
        return (
            f"profile {profile.name} is for module {profile.module}, which has no DLA: {_with_dla()} have one",
            _LEAVE_OUT,
        )
    if core >= cores:
        known = " and ".join(map(str, range(cores)))
        return f"DLA core {core}, but {profile.module} has {cores}", f"write {known}"
    if _numbers(profile.tensorrt) > NEWEST_WITH_DLA:
        hint = "remove dla_core, or stay on JetPack 6 (TensorRT 8.6 or 10.3)"
        message = f"TensorRT {profile.tensorrt} of profile {profile.name} cannot use the DLA"
        return f"{message}: 10.7 was the last version that can", hint
    if use.precision == "fp32":
        return f"{use.model} at fp32 on the DLA, which computes in fp16 and int8 only", "write precision: fp16 or int8"
    if model is not None and (inputs := ranged(model)):
        return f"{use.model} has a shape_range ({inputs[0]}), and the DLA supports one shape only", _LEAVE_OUT
    return None


def _with_dla() -> str:
    return " and ".join(module.name for module in MODULES.values() if module.dla_cores)


_LEAVE_OUT = "remove dla_core: the model then runs on what the profile has"


def _numbers(version: str | None) -> tuple[int, ...]:
    return tuple(int(part) for part in (version or "0").split(".")[:2])
