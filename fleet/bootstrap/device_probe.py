"""What a device says of itself before it is a robot: module, L4T, TensorRT, CUDA, power, Docker's runtime, cameras.

Read over SSH as an ordinary user. Whatever it does not say is None or empty: nothing is guessed.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from dataclasses import dataclass

from runtime.contract.jetson import module_in, release_in
from runtime.contract.printable import printable
from runtime.contract.robot.power import PowerMode, parse_modes, sms_left

_MAX_LINE = 200_000
_MAX_TEXT = 300
_MOST_TOPICS = 64

#: A program for `sh`; ``root`` is where the device's files are. Each line is a name and a value, ``_b64`` a file.
PROBE = r"""
root=
exec 3</dev/null
say() { printf '%s=%s\n' "$1" "$2"; }
file() { [ -r "$2" ] && say "$1" "$(head -c 65536 "$2" | base64 | tr -d '\n')"; }
say device yes
say machine "$(uname -m)"
file release_b64 "$root/etc/nv_tegra_release"
file compatible_b64 "$root/proc/device-tree/compatible"
file model_b64 "$root/proc/device-tree/model"
file modes_b64 "$root/etc/nvpmodel.conf"
file status_b64 "$root/var/lib/nvpmodel/status"
file cuda_b64 "$root/usr/local/cuda/version.json"
file daemon_b64 "$root/etc/docker/daemon.json"
for mask in platform/gpu.0 gpu.0 platform/17000000.gpu platform/bus@0/17000000.gpu; do
  [ -r "$root/sys/devices/$mask/tpc_pg_mask" ] && say tpc_mask "$(cat "$root/sys/devices/$mask/tpc_pg_mask")"
done
say packages "$(dpkg-query --admindir="$root/var/lib/dpkg" -W -f '${Package}=${Version} ' \
  'libnvinfer[0-9]*' 'cuda-cudart-[0-9]*' nvidia-l4t-core 2>/dev/null <&3)"
say runtimes "$(docker info --format '{{range $name, $r := .Runtimes}}{{$name}} {{end}}' 2>/dev/null <&3)"
store="$(docker info --format '{{.DockerRootDir}}' 2>/dev/null <&3)"
say store "$store"
[ "$store" ] && while [ ! -d "$store" ] && [ "$store" != / ]; do store="$(dirname "$store")"; done
say store_kib "$(df -Pk "${store:-/var/lib}" 2>/dev/null | awk 'NR == 2 { print $4 }')"
say memory_kib "$(awk '/^MemTotal:/ { print $2 }' /proc/meminfo)"
for setup in "$root"/opt/ros/*/setup.sh; do
  [ -r "$setup" ] || continue
  distro="$(basename "$(dirname "$setup")")"
  say ros "$distro"
  timeout 15 sh -c '. "$1" >/dev/null 2>&1; ros2 topic list -t' sh "$setup" 2>/dev/null <&3 |
    sed -n 's/^\([^ ]*\) \[\(sensor_msgs\/msg\/[A-Za-z0-9]*\)\].*$/topic=\1 \2/p'
done
"""
TIMEOUT_S = 90.0

_NAMED = re.compile(r"p\d{4}-\d{4}")
_TOPIC = re.compile(r"(/[A-Za-z0-9_/]+) (sensor_msgs/msg/(?:Image|CompressedImage))")


@dataclass(frozen=True, slots=True)
class DeviceReport:
    """One device, as far as it says."""

    machine: str
    """``aarch64``, ``x86_64``."""
    module: str | None
    """Part number, ``p3767-0003``; of another family its own (``p3701-0005``)."""
    l4t: str | None
    """``36.4.3``; None: no Jetson, or it does not say."""
    tensorrt: str | None
    """All four parts."""
    cuda: str | None
    modes: tuple[PowerMode, ...]
    mode: PowerMode | None
    """The one that is set."""
    sm_count: int | None
    """SMs that are powered now; the mode's where the kernel does not say."""
    runtimes: tuple[str, ...]
    """Docker's; empty where the user may not ask."""
    store: str
    """Folder of Docker's images."""
    store_bytes: int | None
    """Free there."""
    memory_bytes: int | None
    ros: tuple[str, ...]
    """Distributions below /opt/ros."""
    cameras: tuple[tuple[str, str], ...]
    """Topics of images that something publishes, with their types."""
    complete: bool
    """The probe ran at all."""

    @property
    def is_jetson(self) -> bool:
        """Say whether it calls itself one."""
        return self.l4t is not None or self.module is not None


def device_from_probe(output: str) -> DeviceReport:
    """Read what PROBE printed. A missing or odd value counts as not said."""
    values: dict[str, str] = {}
    topics: list[tuple[str, str]] = []
    ros: list[str] = []
    for line in output.splitlines():
        name, equals, raw = line[:_MAX_LINE].partition("=")
        if name == "topic" and (found := _TOPIC.fullmatch(raw.strip())) and len(topics) < _MOST_TOPICS:
            topics.append((found[1], found[2]))
        elif name == "ros" and re.fullmatch(r"[a-z]+", raw):
            ros.append(raw)
        elif equals:
            values.setdefault(name, raw)
    packages = dict(part.partition("=")[::2] for part in values.get("packages", "").split())
    modes = parse_modes(_file(values, "modes_b64"))
    number = re.search(r"pmode:(\d+)", _file(values, "status_b64"))
    mode = next((each for each in modes if number and each.id == int(number[1])), None)
    mask = _number(values.get("tpc_mask", ""))
    return DeviceReport(
        machine=printable(values.get("machine", ""), _MAX_TEXT),
        module=_module(_file(values, "compatible_b64")),
        l4t=_l4t(_file(values, "release_b64"), packages),
        tensorrt=_tensorrt(packages),
        cuda=_cuda(_file(values, "cuda_b64"), packages),
        modes=modes,
        mode=mode,
        sm_count=(sms_left(mask) if mask is not None else None) or (mode.sm_count if mode else None),
        runtimes=_runtimes(values),
        store=printable(values.get("store", ""), _MAX_TEXT),
        store_bytes=_bytes(values.get("store_kib", "")),
        memory_bytes=_bytes(values.get("memory_kib", "")),
        ros=tuple(ros),
        cameras=tuple(dict.fromkeys(topics)),
        complete=values.get("device") == "yes",
    )


def _file(values: dict[str, str], name: str) -> str:
    try:
        return base64.b64decode(values.get(name, ""), validate=True).decode("utf-8", "replace")
    except (binascii.Error, ValueError):
        return ""


def _module(compatible: str) -> str | None:
    """Return the module, not its carrier: the P-number is right where the model's name is not."""
    other = _NAMED.findall(compatible)
    return module_in(compatible) or (other[-1] if other else None)


def _l4t(release: str, packages: dict[str, str]) -> str | None:
    if said := release_in(release):
        return said
    version = re.match(r"\d+\.\d+(\.\d+)?", packages.get("nvidia-l4t-core", ""))
    return version[0] if version else None


def _tensorrt(packages: dict[str, str]) -> str | None:
    found = [
        match[0]
        for name, version in packages.items()
        if re.fullmatch(r"libnvinfer\d+", name) and (match := re.match(r"\d+\.\d+\.\d+(\.\d+)?", version))
    ]
    return max(found, key=lambda text: [int(part) for part in text.split(".")], default=None)


def _cuda(version_json: str, packages: dict[str, str]) -> str | None:
    try:
        named = json.loads(version_json or "{}")
        version = str(named["cuda"]["version"])
    except (ValueError, KeyError, TypeError, RecursionError):
        version = next((each for name, each in packages.items() if name.startswith("cuda-cudart-")), "")
    found = re.match(r"\d+\.\d+", version)
    return found[0] if found else None


def _runtimes(values: dict[str, str]) -> tuple[str, ...]:
    """Return Docker's runtimes: of the Engine, else of its configuration, which is readable without the group."""
    if names := values.get("runtimes", "").split():
        return tuple(printable(name, 40) for name in names)
    try:
        named = json.loads(_file(values, "daemon_b64") or "{}").get("runtimes", {})
        return tuple(printable(str(name), 40) for name in named)
    except (ValueError, AttributeError, TypeError, RecursionError):
        return ()


def _bytes(kib: str) -> int | None:
    number = _number(kib)
    return None if number is None else number * 1024


def _number(text: str) -> int | None:
    return int(text.strip(), 0) if re.fullmatch(r"\s*(0x[0-9a-fA-F]{1,8}|[1-9][0-9]{0,14}|0)\s*", text) else None
