"""Does an engine belong on this machine? Asked before it is loaded: of its sidecar, its plan's header, the device.

Pure Python: a refusal costs no GPU memory and cannot crash a driver. It names both sides and the way out.
"""

from __future__ import annotations

import platform
from pathlib import Path
from typing import Any

from runtime.contract.device import differing_facts, same_fact
from runtime.contract.engine.build import DeviceFacts, EngineIdentity
from runtime.contract.jetson import version_parts
from runtime.engines.device.device_facts import JetsonFacts
from runtime.engines.device.plan_header import FIRST_MAJOR, HEADER_BYTES, read_plan_header
from runtime.engines.errors import EngineError

_ARCHITECTURES = {"x86_64": "amd64", "amd64": "amd64", "aarch64": "arm64", "arm64": "arm64"}
_REBUILD = "build the engine for this machine's profile: fleet build, then publish and roll out again"


def this_platform() -> str:
    """Return ``linux/amd64`` or ``linux/arm64``, as container images name platforms."""
    machine = platform.machine().lower()
    return f"{platform.system().lower()}/{_ARCHITECTURES.get(machine, machine)}"


def mismatches(claimed: DeviceFacts, found: DeviceFacts, jetson: JetsonFacts | None = None) -> list[str]:
    """Return one phrase for every fact that is claimed and not found so; a claim of None is no claim.

    With ``jetson``, a wrong SM count is explained by the power mode it comes from.
    """
    return [_phrase(name, wanted, here, jetson) for name, wanted, here in differing_facts(claimed, found)]


def check_builder(claimed: DeviceFacts, found: DeviceFacts, jetson: JetsonFacts | None = None) -> None:
    """Refuse to build under a key that claims another device. Raises EngineError ``device-mismatch``."""
    wrong = mismatches(claimed, found, jetson)
    if wrong:
        raise EngineError(
            "device-mismatch",
            f"this builder is not the device that the engine key claims: {'; '.join(wrong)}",
            _mode_hint(claimed, found, jetson)
            or "point the profile's builder at a matching device, or correct the profile",
        )


def check_engine(
    identity: EngineIdentity,
    backend: str,
    found: DeviceFacts,
    *,
    plan: Path | None = None,
    jetson: JetsonFacts | None = None,
) -> None:
    """Refuse an engine of another backend or built for another device, before anything is loaded.

    With ``plan``, a TensorRT engine's file, its header is held against sidecar and device too. Raises EngineError
    ``device-mismatch``, or ``corrupt`` when the file is no plan.
    """
    wrong = mismatches(identity.device, found, jetson)
    if identity.backend != backend:
        wrong.insert(0, f"backend {identity.backend} claimed, {backend} found")
    if wrong:
        raise EngineError(
            "device-mismatch",
            f"engine of {identity.model!r} does not fit this machine: {'; '.join(wrong)}",
            _mode_hint(identity.device, found, jetson) or _REBUILD,
        )
    if plan is not None:
        check_plan(plan, identity, found)


def check_plan(plan: Path, identity: EngineIdentity, found: DeviceFacts) -> None:
    """Hold the header of a plan against its sidecar and this device's TensorRT. Raises EngineError.

    ``corrupt`` for what is no plan, ``device-mismatch`` for another version's. Of a plan of TensorRT 8 that has no
    header only the sidecar tells, which was compared already; TensorRT itself refuses what is no plan.
    """
    claimed, running = identity.device.tensorrt, found.tensorrt
    header = read_plan_header(_head(plan))
    if header is None:
        newest = max(version_parts(version or "")[:1] for version in (claimed, running))
        if newest >= (FIRST_MAJOR,):
            raise EngineError(
                "corrupt",
                f"{plan} does not begin like a TensorRT plan; {_sides(claimed, running)}",
                "pull the image again; if it happens again, delete the artifact and run fleet build",
            )
        return
    for version in (claimed, running):
        if version is not None and not same_fact("tensorrt", version, str(header)):
            raise EngineError(
                "device-mismatch",
                f"the plan of {identity.model!r} was built by TensorRT {header}; {_sides(claimed, running)}",
                _REBUILD,
            )


def _head(plan: Path) -> bytes:
    try:
        with plan.open("rb") as stream:
            head = stream.read(HEADER_BYTES)
    except OSError as error:
        raise EngineError("corrupt", f"{plan} cannot be read: {error.strerror}", _REBUILD) from error
    if len(head) < HEADER_BYTES:
        raise EngineError("corrupt", f"{plan} has {len(head)} bytes, too few for a TensorRT plan", _REBUILD)
    return head


def _sides(claimed: str | None, running: str | None) -> str:
    return f"its sidecar says {claimed or 'nothing'}, this machine has {running or 'none'}"


def _phrase(name: str, wanted: Any, here: Any, jetson: JetsonFacts | None) -> str:
    text = f"{name} {wanted} claimed, {'none' if here is None else here} found"
    if name == "sm_count" and jetson is not None and jetson.power_mode is not None:
        text += f" (power mode {jetson.power_mode})"
    return text


def _mode_hint(claimed: DeviceFacts, found: DeviceFacts, jetson: JetsonFacts | None) -> str:
    """Return the way out when the power mode alone stands between engine and device; empty otherwise."""
    if jetson is None or [name for name, _, _ in differing_facts(claimed, found)] != ["sm_count"]:
        return ""
    fitting = [mode for mode, sms in jetson.modes.items() if sms == claimed.sm_count]
    if not fitting:
        return ""
    return (
        f"set a power mode with {claimed.sm_count} SMs ({', '.join(fitting)}; sudo nvpmodel -m, then reboot), "
        "or give the robot a profile for the mode it has and run fleet build"
    )
