"""Refusals before anything is loaded: what a device's files say, what a plan's header says, what a sidecar claims."""

from __future__ import annotations

import dataclasses
import struct
from pathlib import Path

import pytest

from runtime.contract.device import differing_facts, same_fact
from runtime.contract.engine.build import AccuracyGate, DeviceFacts, EngineIdentity
from runtime.contract.jetson import LINES, line_of
from runtime.contract.robot.power import sms_left
from runtime.engines.device.device_facts import JetsonFacts, read_jetson
from runtime.engines.device.plan_header import HEADER_BYTES, PlanHeader, read_plan_header
from runtime.engines.device.preflight import check_builder, check_engine
from runtime.engines.errors import EngineError

NX = DeviceFacts("linux/arm64", module="p3767-0000", l4t="36.4.3", sm_count=8, cuda="12.6", tensorrt="10.3.0.30")

#: The start of a plan of TensorRT 8.6.0.12, as built on an H100.
SEEN_8_6 = bytes.fromhex("66747274000000000100000000000000dc5c0500000000000806000c")

NVPMODEL = """\
# as in NVIDIA's files: parameters first, then one section a mode
< PARAM TYPE=FILE NAME=TPC_POWER_GATING >
TPC_PG_MASK /sys/devices/gpu.0/tpc_pg_mask
TPC_PG_MASK_KNEXT /sys/devices/platform/gpu.0/tpc_pg_mask

< POWER_MODEL ID=0 NAME=MAXN_SUPER >
CPU_ONLINE CORE_0 1
TPC_POWER_GATING TPC_PG_MASK 240
< POWER_MODEL ID=2 NAME=15W >
TPC_POWER_GATING TPC_PG_MASK 252
< POWER_MODEL ID=4 NAME=40W >
TPC_POWER_GATING TPC_PG_MASK 240
GPU MAX_FREQ 1173000000
< PM_CONFIG DEFAULT=4 >
"""
JP5 = {
    "etc/nv_tegra_release": "# R35 (release), REVISION: 4.1, GCID: 33958178, BOARD: t186ref, EABI: aarch64\n",
    "proc/device-tree/compatible": "nvidia,p3737-0000+p3767-0000\0nvidia,p3767-0000\0nvidia,tegra234\0",
    "sys/devices/gpu.0/tpc_pg_mask": "252\n",
    "etc/nvpmodel.conf": "< POWER_MODEL ID=1 NAME=10W >\nTPC_POWER_GATING TPC_PG_MASK 252\n",
    "var/lib/nvpmodel/status": "pmode:0001 fmode:fanNull\n",
}
JP6 = {
    "etc/nv_tegra_release": "# R36 (release), REVISION: 4.3, GCID: 38968081, BOARD: generic, EABI: aarch64, DATE: x\n",
    "proc/device-tree/compatible": "nvidia,p3768-0000+p3767-0000-super\0nvidia,p3767-0000\0nvidia,tegra234\0",
    "sys/devices/platform/gpu.0/tpc_pg_mask": "240\n",
    "etc/nvpmodel.conf": NVPMODEL,
    "var/lib/nvpmodel/status": "pmode:0004 fmode:quiet\n",
}
JP7 = {
    "etc/nv_tegra_release": "# R39 (release), REVISION: 2.1, GCID: 1, BOARD: generic, EABI: aarch64, DATE: x\n",
    "proc/device-tree/compatible": "nvidia,p3768-0000+p3767-0005-super\0nvidia,p3767-0005\0nvidia,tegra234\0",
}


def tree(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


def identity(device: DeviceFacts = NX, backend: str = "tensorrt") -> EngineIdentity:
    return EngineIdentity(
        "sha256:00", "signs", backend, "fp16", "engine.plan", "0" * 64, 1, device, (), (), AccuracyGate()
    )


def plan(path: Path, version: tuple[int, int, int, int] = (10, 3, 0, 30), magic: int = 0x74727466) -> Path:
    path.write_bytes(struct.pack("<II", magic, 0) + b"\xaa" * 16 + bytes(version) + b"weights" * 9)
    return path


def refused(device: DeviceFacts, found: DeviceFacts, **more: object) -> EngineError:
    with pytest.raises(EngineError) as caught:
        check_engine(identity(device), "tensorrt", found, **more)  # type: ignore[arg-type]
    assert caught.value.hint
    return caught.value


# ── what a device's files say ────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("files", "module", "l4t", "mode", "sms"),
    [
        (JP5, "p3767-0000", "35.4.1", "10W", 4),
        (JP6, "p3767-0000", "36.4.3", "40W", 8),
        (JP7, "p3767-0005", "39.2.1", None, None),
        ({}, None, None, None, None),
    ],
    ids=["JetPack 5", "JetPack 6", "JetPack 7", "no Jetson"],
)
def test_recorded_trees(
    tmp_path: Path, files: dict[str, str], module: str | None, l4t: str | None, mode: str | None, sms: int | None
) -> None:
    facts = read_jetson(tree(tmp_path, files))
    assert (facts.module, facts.l4t, facts.power_mode, facts.sm_count) == (module, l4t, mode, sms)


def test_every_mode_is_known_by_name(tmp_path: Path) -> None:
    assert read_jetson(tree(tmp_path, JP6)).modes == {"MAXN_SUPER": 8, "15W": 4, "40W": 8}


def test_the_kernel_s_mask_wins_over_a_mode_that_waits_for_its_reboot(tmp_path: Path) -> None:
    facts = read_jetson(tree(tmp_path, {**JP6, "var/lib/nvpmodel/status": "pmode:0002 fmode:quiet\n"}))
    assert (facts.power_mode, facts.sm_count) == ("15W", 8)


def test_without_a_mask_the_mode_s_own_counts(tmp_path: Path) -> None:
    files = {name: text for name, text in JP6.items() if "tpc_pg_mask" not in name}
    assert read_jetson(tree(tmp_path, files)).sm_count == 8


def test_in_a_container_the_device_tree_is_where_compose_mounts_it(tmp_path: Path) -> None:
    files = {"run/jetfleet/device-tree-compatible": JP6["proc/device-tree/compatible"]}
    assert read_jetson(tree(tmp_path, files)).module == "p3767-0000"


@pytest.mark.parametrize("text", ["", "garbage", "pmode:0009 fmode:x"])
def test_a_status_that_says_nothing_is_no_mode(tmp_path: Path, text: str) -> None:
    assert read_jetson(tree(tmp_path, {**JP6, "var/lib/nvpmodel/status": text})).power_mode is None


@pytest.mark.parametrize(("mask", "sms"), [(240, 8), (252, 4), (0, None), (255, None)])
def test_masks(mask: int, sms: int | None) -> None:
    assert sms_left(mask) == sms


# ── when two statements mean the same device ─────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("l4t", "line"),
    [("36.3", "36.3"), ("36.3.0", "36.3"), ("36.4.7", "36.4"), ("R36.5.0", "36.4"), ("39.2.1", "39.2"),
     ("36.2.0", None), ("36.6", None), ("38.2", None), ("35.4.1", None), ("", None), (None, None), ("x", None)],
)  # fmt: skip
def test_lines(l4t: str | None, line: str | None) -> None:
    found = line_of(l4t)
    assert (found.name if found else None) == line


def test_every_line_holds_its_own_releases_and_no_release_is_in_two() -> None:
    assert all(line_of(name) is line for name, line in LINES.items())
    releases = [release for line in LINES.values() for release in line.releases]
    assert len(releases) == len(set(releases))


@pytest.mark.parametrize(
    ("name", "wanted", "found", "same"),
    [
        ("l4t", "36.4.3", "36.4.7", True),
        ("l4t", "36.3.0", "36.4.0", False),
        ("l4t", "36.6.0", "36.6.0", True),
        ("l4t", "36.6.0", "36.6.1", False),
        ("tensorrt", "8.6.2", "8.6.2.3", True),
        ("tensorrt", "8.6.1.2", "8.6.1.6", False),
        ("tensorrt", "10.3.0.30", "10.3", False),
        ("cuda", "12.6", "12.6.68", True),
        ("cuda", "12.6", "12.2", False),
        ("sm_count", 8, 4, False),
    ],
)
def test_facts(name: str, wanted: object, found: object, same: bool) -> None:
    assert same_fact(name, wanted, found) is same


def test_a_fact_that_is_not_found_is_a_difference() -> None:
    assert differing_facts(NX, dataclasses.replace(NX, module=None)) == [("module", "p3767-0000", None)]


# ── refusals ─────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"module": "p3767-0003"}, "module p3767-0000 claimed, p3767-0003 found"),
        ({"sm_count": 4}, "sm_count 8 claimed, 4 found"),
        ({"l4t": "36.3.0"}, "l4t 36.4.3 claimed, 36.3.0 found"),
        ({"tensorrt": "8.6.2.3"}, "tensorrt 10.3.0.30 claimed, 8.6.2.3 found"),
        ({"tensorrt": None}, "tensorrt 10.3.0.30 claimed, none found"),
        ({"platform": "linux/amd64"}, "platform linux/arm64 claimed, linux/amd64 found"),
    ],
)
def test_another_device_is_refused_with_both_sides_and_the_command(change: dict[str, object], says: str) -> None:
    found = refused(NX, dataclasses.replace(NX, **change))  # type: ignore[arg-type]
    assert found.kind == "device-mismatch"
    assert says in found.message
    assert "'signs'" in found.message
    assert "fleet build" in found.hint


def test_a_power_mode_is_named_with_those_that_would_fit(tmp_path: Path) -> None:
    files = {**JP6, "sys/devices/platform/gpu.0/tpc_pg_mask": "252", "var/lib/nvpmodel/status": "pmode:0002 fmode:x"}
    here = read_jetson(tree(tmp_path, files))
    found = refused(NX, dataclasses.replace(NX, sm_count=here.sm_count), jetson=here)
    assert "sm_count 8 claimed, 4 found (power mode 15W)" in found.message
    assert "8 SMs (MAXN_SUPER, 40W;" in found.hint
    assert "fleet build" in found.hint


def test_a_power_mode_does_not_explain_another_module() -> None:
    here = JetsonFacts(power_mode="15W", modes={"40W": 8})
    found = refused(NX, dataclasses.replace(NX, sm_count=4, module="p3767-0001"), jetson=here)
    assert "power mode" not in found.hint


def test_a_builder_in_the_wrong_mode_is_told_so() -> None:
    here = JetsonFacts(power_mode="15W", modes={"15W": 4, "40W": 8})
    with pytest.raises(EngineError, match=r"\(power mode 15W\)") as caught:
        check_builder(NX, dataclasses.replace(NX, sm_count=4), here)
    assert "40W" in caught.value.hint


def test_a_fitting_device_is_taken(tmp_path: Path) -> None:
    here = dataclasses.replace(NX, l4t="36.4.7", cuda="12.6.68")
    check_engine(identity(), "tensorrt", here, plan=plan(tmp_path / "engine.plan"))


# ── the plan's header ────────────────────────────────────────────────────────────────────────────────────────────


def test_header(tmp_path: Path) -> None:
    content = plan(tmp_path / "p", (10, 16, 2, 10)).read_bytes()
    assert read_plan_header(content) == PlanHeader((10, 16, 2, 10))
    assert str(read_plan_header(content)) == "10.16.2.10"
    assert read_plan_header(content[: HEADER_BYTES - 1]) is None
    assert read_plan_header(b"\0" * 64) is None
    assert read_plan_header(plan(tmp_path / "p", (8, 5, 2, 2)).read_bytes()) is None
    assert str(read_plan_header(SEEN_8_6)) == "8.6.0.12"


@pytest.mark.parametrize("version", [(10, 3, 0, 26), (10, 16, 2, 10)])
def test_a_patched_header_is_refused(tmp_path: Path, version: tuple[int, int, int, int]) -> None:
    found = refused(NX, NX, plan=plan(tmp_path / "p", version))
    assert found.kind == "device-mismatch"
    text = ".".join(map(str, version))
    assert f"was built by TensorRT {text}; its sidecar says 10.3.0.30, this machine has 10.3.0.30" in found.message
    assert "fleet build" in found.hint


def test_a_header_of_another_build_than_this_machine_s(tmp_path: Path) -> None:
    claimed = dataclasses.replace(NX, tensorrt="10.3.0")
    found = refused(claimed, NX, plan=plan(tmp_path / "p", (10, 3, 0, 26)))
    assert "was built by TensorRT 10.3.0.26; its sidecar says 10.3.0, this machine has 10.3.0.30" in found.message


@pytest.mark.parametrize("content", [b"", b"ftrt" + b"\0" * 20])
def test_a_truncated_plan(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "p").write_bytes(content)
    found = refused(NX, NX, plan=tmp_path / "p")
    assert found.kind == "corrupt"
    assert f"has {len(content)} bytes" in found.message


def test_what_is_no_plan(tmp_path: Path) -> None:
    found = refused(NX, NX, plan=plan(tmp_path / "p", magic=0x04034B50))
    assert found.kind == "corrupt"
    assert "does not begin like a TensorRT plan; its sidecar says 10.3.0.30" in found.message


JP60 = dataclasses.replace(NX, tensorrt="8.6.2", l4t="36.3.0", cuda="12.2")


def test_of_a_plan_of_tensorrt_8_without_header_the_sidecar_tells(tmp_path: Path) -> None:
    check_engine(identity(JP60), "tensorrt", JP60, plan=plan(tmp_path / "p", magic=1))


def test_a_plan_of_tensorrt_8_that_has_a_header_is_held_to_it(tmp_path: Path) -> None:
    check_engine(identity(JP60), "tensorrt", JP60, plan=plan(tmp_path / "p", (8, 6, 2, 3)))
    found = refused(JP60, JP60, plan=plan(tmp_path / "q", (10, 3, 0, 30)))
    assert found.kind == "device-mismatch"
    assert "was built by TensorRT 10.3.0.30; its sidecar says 8.6.2, this machine has 8.6.2" in found.message


def test_a_plan_that_is_not_there(tmp_path: Path) -> None:
    found = refused(NX, NX, plan=tmp_path / "none")
    assert found.kind == "corrupt"
    assert "cannot be read: No such file" in found.message
