"""Whether a device fits its profile, and which profile fits a device; each finding with what to do. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from fleet.bootstrap.device_probe import DeviceReport
from fleet.link.host_docker import HostProblem
from fleet.manifest.schema.manifest_schema import Profile
from runtime.contract.jetson import known_lines, line_of

MIN_STORE_BYTES = 8 << 30
"""Two images of a Jetson's runtime, 1 to 3 GB each, and their engines."""
DEVKIT = "p3767-0005"
SAME_MODULE = {DEVKIT: "p3767-0003"}
"""Modules that differ in nothing that a profile's modes and counts say."""


def unsupported(device: DeviceReport) -> HostProblem | None:
    """Return why no profile can be for this device, or None. One that is no Jetson is judged by its processor."""
    if not device.is_jetson:
        if device.machine in ("x86_64", "aarch64"):
            return None
        return HostProblem(f"its processor is {device.machine or 'not known'}", "x86_64 and aarch64 are supported")
    lines = known_lines()
    if device.module is None or not device.module.startswith("p3767-"):
        what = f"its module is {device.module or 'not known'}: Orin Nano and NX (p3767-…) are supported"
        return HostProblem(what, "cat /proc/device-tree/compatible at the device says which module it is")
    major = int((device.l4t or "0").split(".")[0])
    if device.l4t is None:
        return HostProblem("it does not say its L4T release", "cat /etc/nv_tegra_release; dpkg -l nvidia-l4t-core")
    if major < 36:
        what = f"it runs L4T {device.l4t} (JetPack 5 or older: Python 3.8, no ROS 2 that the runtime supports)"
        return HostProblem(what, f"flash JetPack 6.2 or 7.2; supported are L4T {lines}")
    if line_of(device.l4t) is None:
        return HostProblem(f"L4T {device.l4t} is in no line that is known", f"supported are L4T {lines}")
    return None


def fitting_profile(device: DeviceReport, profiles: Iterable[Profile]) -> Profile | None:
    """Return the profile of this device: module, L4T line; the simulated one of its processor for what is no Jetson."""
    if not device.is_jetson:
        platform = {"x86_64": "linux/amd64", "aarch64": "linux/arm64"}.get(device.machine)
        return next((each for each in profiles if each.backend == "onnxruntime" and each.platform == platform), None)
    line = line_of(device.l4t)
    wanted = SAME_MODULE.get(device.module or "", device.module)
    return next(
        (
            each
            for each in profiles
            if each.module is not None
            and SAME_MODULE.get(each.module, each.module) == wanted
            and line is not None
            and line_of(each.l4t) == line
        ),
        None,
    )


def device_problems(device: DeviceReport, profile: Profile, power_mode: str | None) -> list[HostProblem]:
    """Return everything about a device that its profile, or its power mode, does not allow."""
    if (never := unsupported(device)) is not None:
        return [never]
    found: list[HostProblem] = []
    platform = {"x86_64": "linux/amd64", "aarch64": "linux/arm64"}[device.machine] if device.machine else ""
    if platform and platform != profile.platform:
        found.append(
            HostProblem(f"it is {platform}, profile {profile.name} is for {profile.platform}", _other_profile(device))
        )
    if profile.backend == "tensorrt":
        found += _jetson_problems(device, profile, power_mode)
    if device.store_bytes is not None and device.store_bytes < MIN_STORE_BYTES:
        where = device.store or "/var/lib"
        have = f"{device.store_bytes / (1 << 30):.1f} GiB free, {MIN_STORE_BYTES >> 30} GiB are needed for two images"
        found.append(HostProblem(f"{where} has {have}", "docker system df; docker system prune; data-root on NVMe"))
    return found


def _jetson_problems(device: DeviceReport, profile: Profile, power_mode: str | None) -> list[HostProblem]:
    found: list[HostProblem] = []
    if not device.is_jetson:
        return [HostProblem(f"it is no Jetson, profile {profile.name} is for {profile.module}", _other_profile(device))]
    if device.module != profile.module:
        found.append(
            HostProblem(
                f"its module is {device.module}, profile {profile.name} is for {profile.module}", _other_profile(device)
            )
        )
    if line_of(device.l4t) != line_of(profile.l4t):
        found.append(
            HostProblem(
                f"it runs L4T {device.l4t}, profile {profile.name} is for {profile.l4t}", _other_profile(device)
            )
        )
    if "nvidia" not in device.runtimes:
        found.append(
            HostProblem(
                "Docker has no runtime `nvidia` (or it cannot be asked)",
                "sudo apt-get install nvidia-container-toolkit; sudo nvidia-ctk runtime configure --runtime=docker; "
                "sudo systemctl restart docker",
            )
        )
    return found + _power_problems(device, profile, power_mode)


def _power_problems(device: DeviceReport, profile: Profile, power_mode: str | None) -> list[HostProblem]:
    names = [mode.name for mode in device.modes]
    if power_mode is not None:
        if names and power_mode not in names:
            what = f"it has no power mode {power_mode} (it has {', '.join(names)})"
            return [HostProblem(what, "correct power_mode in the manifest; non-super images lack the super modes")]
        return []
    if device.sm_count is None or device.sm_count == profile.sm_count:
        return []
    fitting = [mode for mode in device.modes if mode.sm_count == profile.sm_count]
    here = f" (power mode {device.mode.name})" if device.mode else ""
    what = f"{device.sm_count} SMs are on{here}, engines of profile {profile.name} are for {profile.sm_count}"
    do = f"sudo nvpmodel -m {fitting[-1].id}   # {fitting[-1].name}; then reboot" if fitting else _other_profile(device)
    return [HostProblem(what, do)]


def _other_profile(device: DeviceReport) -> str:
    line = line_of(device.l4t)
    if device.is_jetson and line is not None:
        return f"fleet profiles list shows the one for {device.module} on L4T {line.name}; fleet profiles add NAME"
    return "fleet profiles list; fleet profiles add NAME"


def device_notes(device: DeviceReport, profile: Profile) -> list[str]:
    """Return what stops nothing and should be known."""
    notes: list[str] = []
    if device.tensorrt is not None and profile.tensorrt is not None and device.tensorrt != profile.tensorrt:
        notes.append(
            f"TensorRT {device.tensorrt} is installed on the host; images bring {profile.tensorrt} of their own, "
            "and engines are for that"
        )
    if profile.backend == "tensorrt" and not device.modes:
        notes.append("its power modes cannot be read (/etc/nvpmodel.conf)")
    return notes
