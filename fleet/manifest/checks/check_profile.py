"""Rules of a device profile that one key alone cannot show."""

from __future__ import annotations

from fleet.manifest.schema.manifest_schema import Profile
from fleet.manifest.yaml.report import Report, SourceFile
from runtime.contract.jetson import MODULES, known_lines, line_of

OLDEST_TENSORRT = (8, 5)
NEWEST_TENSORRT = (10, 16)
OLDEST_L4T = 36
"""JetPack 6. L4T 35 has Python 3.8 and ROS 2 Foxy, which the runtime does not support."""
_THOR_ONLY = (38,)


def check_profile(profile: Profile, source: SourceFile, report: Report) -> None:
    """Note what is impossible about a profile."""
    if profile.backend == "tensorrt":
        _check_tensorrt(profile, source, report)
        _check_l4t(profile, source, report)
        _check_module(profile, source, report)
        if profile.platform != "linux/arm64":
            hint = "write linux/arm64, or backend onnxruntime"
            report.add(source, ("platform",), f"{profile.platform} is not a Jetson's platform", hint)
        _check_line(profile, source, report)
    if len(set(profile.power_modes)) != len(profile.power_modes):
        hint = "name each once, as `nvpmodel -q` prints it"
        report.add(source, ("power_modes",), "a power mode is named twice", hint)
    _check_modes(profile, source, report)


def _check_tensorrt(profile: Profile, source: SourceFile, report: Report) -> None:
    version = _numbers(profile.tensorrt)
    shown = f"TensorRT {profile.tensorrt}"
    if version and version[:2] < OLDEST_TENSORRT:
        report.add(source, ("tensorrt",), f"{shown} is older than 8.5", "use JetPack 6, which has 8.6 or 10.3")
    if version and version[:2] > NEWEST_TENSORRT:
        reason = "use 8.5 to 10.16: NVIDIA supports TensorRT 11 on AGX Orin and Thor, not on Orin Nano and NX"
        report.add(source, ("tensorrt",), f"{shown} does not run on this module", reason)


def _check_l4t(profile: Profile, source: SourceFile, report: Report) -> None:
    release = _numbers(profile.l4t)
    shown = f"L4T {profile.l4t}"
    if release and release[0] < OLDEST_L4T:
        reason = "flash JetPack 6 (L4T 36.3 or newer): JetPack 5 has Python 3.8 and no ROS 2 that the runtime supports"
        report.add(source, ("l4t",), f"{shown} (JetPack 5 or older) is not supported", reason)
    if release and release[0] in _THOR_ONLY:
        report.add(source, ("l4t",), f"{shown} runs on Jetson Thor only", f"use {known_lines()}")


def _check_module(profile: Profile, source: SourceFile, report: Report) -> None:
    if profile.module is None or profile.sm_count is None:
        return
    most = _sm_count(profile.module)
    if most is None:
        hint = f"write one of {', '.join(MODULES)} (`fleet bootstrap` shows a robot's)"
        report.add(source, ("module",), f"{profile.module} is not an Orin Nano or NX module", hint)
    elif profile.sm_count > most or profile.sm_count % 2:
        hint = f"write {most}, or what the power mode leaves (4 for Orin NX at 10W and 15W)"
        report.add(source, ("sm_count",), f"{profile.module} cannot have {profile.sm_count} SMs", hint)


def _check_line(profile: Profile, source: SourceFile, report: Report) -> None:
    """What comes with an L4T line: a profile that says otherwise would build images that cannot be."""
    line = line_of(profile.l4t)
    if line is None:
        return  # not guessed about; asking for an image of it names the lines that there are
    found = {"cuda": profile.cuda, "ros_distro": profile.ros_distro, "python": profile.python}
    wanted = {"cuda": line.cuda, "ros_distro": line.ros_distro, "python": line.python}
    shown = f"L4T {profile.l4t} (JetPack {line.jetpack})"
    version = _numbers(profile.tensorrt)
    # Older and newer ones are noted already, with a better reason.
    if OLDEST_TENSORRT <= version[:2] <= NEWEST_TENSORRT and version[:3] != _numbers(line.tensorrt):
        hint = f"write what `dpkg -l 'libnvinfer*'` shows on the device: {line.tensorrt} and its build number"
        report.add(source, ("tensorrt",), f"{shown} has TensorRT {line.tensorrt}, not {profile.tensorrt}", hint)
    for key, value in wanted.items():
        given = found[key]
        if given is not None and _numbers_or_text(given) != _numbers_or_text(value):
            report.add(source, (key,), f"{shown} has {key} {value}, not {given}", f"write {value}")


def _check_modes(profile: Profile, source: SourceFile, report: Report) -> None:
    at = "sm_count_by_mode"
    for mode, count in profile.sm_count_by_mode.items():
        most = _sm_count(profile.module)
        if mode not in profile.power_modes:
            hint = f"add it to power_modes, or write one of {', '.join(profile.power_modes) or 'none'}"
            report.add(source, (at, mode), f"{mode} is not one of the power_modes", hint)
        elif most is not None and (count > most or count % 2):
            report.add(source, (at, mode), f"{profile.module} cannot have {count} SMs", f"write {most} or 4")
    if profile.sm_count_by_mode and profile.sm_count not in profile.sm_count_by_mode.values():
        hint = "write the SMs of the power mode that these robots run in; other modes need a profile of their own"
        report.add(source, ("sm_count",), f"no power mode leaves {profile.sm_count} SMs", hint)


def _sm_count(module: str | None) -> int | None:
    found = MODULES.get(module or "")
    return None if found is None else found.sm_count


def _numbers_or_text(value: str) -> object:
    return _numbers(value)[:2] if value[0].isdigit() else value


def _numbers(version: str | None) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split(".")) if version else ()
