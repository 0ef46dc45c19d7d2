"""What `fleet init` writes: a fleet of one robot, from nothing, or from what a device says of itself over SSH."""

from __future__ import annotations

import dataclasses
import re
from dataclasses import dataclass
from pathlib import Path

from fleet.bootstrap.device_check import device_problems, fitting_profile, unsupported
from fleet.bootstrap.device_probe import DeviceReport
from fleet.bootstrap.examine import look
from fleet.bootstrap.host_facts import HostFacts, host_problems
from fleet.cli.ui.activity import activity
from fleet.cli.wiring import KNOWN_HOSTS, Wiring
from fleet.errors import OutsideError, UsageError
from fleet.link.host_docker import HostProblem
from fleet.manifest.placeholders import REGISTRY, ROBOT_HOST
from fleet.ports import RobotAddress
from fleet.resolve.shipped_profiles import ShippedProfile, shipped_profiles

FIRST_MODEL = "mean_colour"
"""The model of a fleet that has none yet: the camera's mean colour, so that the road can be gone."""
ROBOT = "robot-001"
TOPIC = "/camera/image_raw"

FLEET = """\
apiVersion: jetfleet/v1
fleet: {fleet}
version: 0.1.0                       # raise it with every change: a published version never changes
registry: {registry}:5000/{fleet}
trust: unsigned                      # robots take any release; who must sign instead: docs/trust.md
profiles: [profiles/{profile}.yaml]
models: [models/{model}.yaml]
defaults: {{profile: {profile}, user: {user}}}
groups:
  first: {{models: [{{model: {model}, precision: {precision}}}]}}
robots:
  - {{name: robot-001, host: {host}, group: first{port}}}
rollout: {{waves: [1, 100%], soak: 30s, on_failure: revert}}
# every key is explained by: fleet docs manifest
{comments}"""

PROFILE = """\
name: sim-x86
platform: linux/amd64
backend: onnxruntime
base_image: debian:bookworm-slim
ros_distro: kilted
builder: {endpoint: local, parallel: 2}
"""

_TARGET = re.compile(
    r"(?:(?P<user>[a-z_][a-z0-9_.-]*)@)?(?:\[(?P<v6>[0-9A-Fa-f:.]+)\]|(?P<host>[A-Za-z0-9._-]+))(?::(?P<port>[0-9]{1,5}))?"
)


@dataclass(frozen=True)
class Start:
    """A fleet to begin with."""

    fleet: str
    model: str
    profile: str = "sim-x86"
    profile_text: str = PROFILE
    host: str = ROBOT_HOST
    user: str = "jetson"
    port: str = ""
    precision: str = "fp32"
    topic: str = TOPIC
    found: tuple[str, ...] = ()
    """What the device said, a line each; they stand in fleet.yaml as comments."""
    now: str = "set registry, hosts and topics, put real frames into the golden data"

    def fleet_text(self) -> str:
        """Return fleet.yaml."""
        return FLEET.format(
            fleet=self.fleet,
            registry=REGISTRY,
            profile=self.profile,
            model=self.model,
            user=self.user,
            host=self.host,
            port=self.port,
            precision=self.precision,
            comments="".join(f"# found on {self.host}: {line}\n" for line in self.found),
        )


def asked_device(wiring: Wiring, folder: Path, start: Start, target: str) -> Start:
    """Ask the device what it is and return the fleet that fits it. Pins its host key beside fleet.yaml.

    Raises UsageError for a target that is none, OutsideError for a device that no profile can be for, RobotError and
    RobotOffline when it cannot be asked; then nothing is written but the pin.
    """
    address = _address(target)
    folder.mkdir(parents=True, exist_ok=True)
    shells = wiring.shells_for_a_look(folder / KNOWN_HOSTS)
    with activity() as shown:
        shown.update("device", f"asking {target} what it is")
        fingerprint = shells.learn_host_key(address)
        shell = shells.connect(address)
        try:
            host, device = look(address.name, address.user, shell, wiring.clock)
        finally:
            shell.close()
    if (never := unsupported(device)) is not None:
        raise OutsideError(f"{target}: {never.what}", hint=never.do)
    shipped = shipped_profiles()
    profile = fitting_profile(device, (each.profile for each in shipped.values()))
    if profile is None:
        raise OutsideError(
            f"{target}: there is no profile for module {device.module} on L4T {device.l4t}",
            hint="fleet profiles list shows those that there are; docs/profiles.md says how one is made",
        )
    return _start(start, address, host, device, shipped[profile.name], fingerprint)


def _start(
    start: Start,
    address: RobotAddress,
    host: HostFacts,
    device: DeviceReport,
    shipped: ShippedProfile,
    fingerprint: str,
) -> Start:
    name, text = shipped.profile.name, shipped.text
    if device.module is not None and device.module != shipped.profile.module:
        # Only the developer kit's module is another one of the same kind.
        name = name.replace("orin-nano-8gb", "orin-nano-devkit")
        text = re.sub(r"^name: .*$", f"name: {name}", text, flags=re.M)
        text = re.sub(r"^module: .*$", f"module: {device.module}", text, flags=re.M)
    if device.is_jetson:
        port = "" if address.port == 22 else f":{address.port}"
        bare = f"[{address.host}]" if ":" in address.host else address.host
        endpoint = f"ssh://{address.user}@{bare}{port}"
        text = re.sub(r"^(builder: \{endpoint: )[^,}]+", rf"\g<1>{endpoint}", text, flags=re.M)
    cameras = [topic for topic, kind in device.cameras if kind.endswith("/Image")]
    profile = shipped.profile.model_copy(update={"module": device.module or shipped.profile.module})
    missing = [*host_problems(host), *device_problems(device, profile, None)]
    return dataclasses.replace(
        start,
        profile=name,
        profile_text=text,
        host=address.host,
        user=address.user,
        port=f", port: {address.port}" if address.port != 22 else "",
        precision="fp16" if device.is_jetson else "fp32",
        topic=cameras[0] if cameras else TOPIC,
        found=tuple(_found(device, host, name, fingerprint, missing)),
        now="set registry, put real frames into the golden data; `fleet doctor` says what is missing on the device"
        if missing
        else "set registry and put real frames into the golden data",
    )


def _found(
    device: DeviceReport, host: HostFacts, profile: str, fingerprint: str, missing: list[HostProblem]
) -> list[str]:
    """Return what the device said, a line each, in the order in which a person looks for it."""
    lines = [f"host key {fingerprint} (pinned in {KNOWN_HOSTS}: compare it at the device)"]
    if device.is_jetson:
        modes = ", ".join(f"{mode.name} ({mode.sm_count or '?'} SMs)" for mode in device.modes) or "not readable"
        now = device.mode.name if device.mode else "not known"
        lines += [
            f"module {device.module}, L4T {device.l4t}: profile {profile}",
            f"TensorRT {device.tensorrt or 'none'}, CUDA {device.cuda or 'none'} on the host; images bring their own",
            f"power modes {modes}; now {now}, {device.sm_count or '?'} SMs on",
            "engines are built on this device (builder/endpoint in its profile) until there is a better one",
        ]
    else:
        lines.append(f"no Jetson ({device.machine}): profile {profile}, ONNX Runtime on the CPU")
    runtimes = ", ".join(device.runtimes) or "not known"
    lines.append(f"Docker {host.docker.engine or 'none'}, Compose {host.docker.compose or 'none'}, runtimes {runtimes}")
    if device.store_bytes is not None:
        lines.append(f"{device.store_bytes / (1 << 30):.1f} GiB free in {device.store or '/var/lib'}")
    topics = ", ".join(f"{topic} ({kind.rpartition('/')[2]})" for topic, kind in device.cameras)
    lines.append(f"ROS 2 {', '.join(device.ros) or 'not installed on the host'}; images on {topics or 'no topic'}")
    return lines + [f"missing: {problem.what} → {problem.do}" for problem in missing]


def _address(target: str) -> RobotAddress:
    found = _TARGET.fullmatch(target)
    if found is None or not 0 < int(found["port"] or 22) < 65536:
        raise UsageError(f"{target!r} is no user@host", hint="write jetson@10.0.0.11, or jetson@10.0.0.11:2222")
    return RobotAddress(
        ROBOT,
        found["v6"] or found["host"],
        int(found["port"] or 22),
        found["user"] or "jetson",
        port_given=found["port"] is not None,
        user_given=found["user"] is not None,
    )


def first_model() -> bytes:
    """Return a small ONNX model that any image fits: the mean of each colour."""
    from onnx import TensorProto, helper

    graph = helper.make_graph(
        [helper.make_node("GlobalAveragePool", ["image"], ["mean"])],
        FIRST_MODEL,
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 3, 224, 224])],
        [helper.make_tensor_value_info("mean", TensorProto.FLOAT, [1, 3, 1, 1])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    return bytes(model.SerializeToString())
