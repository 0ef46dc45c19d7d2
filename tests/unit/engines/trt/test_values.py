"""What needs no TensorRT: versions, devices, capabilities, memory, inspection of recorded engines."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import pytest

from runtime.contract.engine.build import BuildJob, BuildOptions, DeviceFacts, Int8Options
from runtime.engines.device.device_facts import JetsonFacts, read_jetson
from runtime.engines.errors import EngineError
from runtime.engines.tensorrt_.build.builder import check_memory, choose_workspace
from runtime.engines.tensorrt_.build.child import build_error
from runtime.engines.tensorrt_.build.graphs import choose_road
from runtime.engines.tensorrt_.build.monitor import Phases
from runtime.engines.tensorrt_.capabilities import Capabilities, detect
from runtime.engines.tensorrt_.device import Gpu, Memory, cuda_version, host_memory
from runtime.engines.tensorrt_.run.inspect import count_layers, others, parse_layers
from runtime.engines.tensorrt_.run.latency import conditions, variation_of
from runtime.engines.tensorrt_.versions import full_version

RECORDED = Path(__file__).parent / "recorded"
GIB = 1 << 30
NANO = Gpu("Orin", "8.7", 8, integrated=True, memory_bytes=8 * GIB, driver_cuda="12.6")


def test_the_fourth_part_comes_from_the_package(tmp_path: Path) -> None:
    status = tmp_path / "var/lib/dpkg/status"
    status.parent.mkdir(parents=True)
    status.write_text("Package: libnvinfer8\nStatus: install ok installed\nVersion: 8.6.2.3-1+cuda12.2\n\n")
    assert full_version("8.6.2", tmp_path) == "8.6.2.3"
    assert full_version("8.6.1", tmp_path) == "8.6.1"  # another version than the package's: not that one
    assert full_version("10.3.0.30", tmp_path) == "10.3.0.30"


@pytest.fixture
def jetson(tmp_path: Path) -> Path:
    files = {
        "etc/nv_tegra_release": "# R36 (release), REVISION: 4.3, GCID: 38968081, BOARD: generic, EABI: aarch64\n",
        "proc/device-tree/compatible": "nvidia,p3768-0000+p3767-0005-super\0nvidia,p3767-0005\0nvidia,tegra234\0",
        "proc/meminfo": "MemTotal: 8000000 kB\nMemAvailable: 4000000 kB\nSwapFree: 1000 kB\n",
        "usr/local/cuda/version.json": '{"cuda": {"name": "CUDA SDK", "version": "12.6.11"}}',
        "var/lib/nvpmodel/status": "pmode:0002 fmode:fanNull",
        "etc/nvpmodel.conf": "< POWER_MODEL ID=0 NAME=15W >\n< POWER_MODEL ID=2 NAME=MAXN_SUPER >\n",
        "sys/class/devfreq/17000000.gpu/device/of_node/name": "gpu\0",
        "sys/class/devfreq/17000000.gpu/cur_freq": "1020000000\n",
        "sys/class/thermal/thermal_zone0/type": "cpu-thermal\n",
        "sys/class/thermal/thermal_zone1/type": "gpu-thermal\n",
        "sys/class/thermal/thermal_zone1/temp": "51500\n",
    }
    for name, content in files.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    return tmp_path


def test_a_jetson_says_what_it_is(jetson: Path, tmp_path: Path) -> None:
    assert (read_jetson(jetson).module, read_jetson(jetson).l4t, cuda_version(jetson)) == (
        "p3767-0005",
        "36.4.3",
        "12.6",
    )
    assert read_jetson(jetson).power_mode == "MAXN_SUPER"
    assert host_memory(jetson) == Memory(4_096_000_000, 1_024_000, 8_192_000_000)
    assert conditions(jetson) == {"power_mode": "MAXN_SUPER", "gpu_mhz": 1020.0, "gpu_celsius": 51.5}


def test_another_machine_says_none(tmp_path: Path) -> None:
    assert cuda_version(tmp_path) is None
    assert read_jetson(tmp_path) == JetsonFacts()
    assert set(conditions(tmp_path).values()) == {None}
    with pytest.raises(EngineError, match="/proc/meminfo"):
        host_memory(tmp_path)


def test_a_power_mode_that_the_table_does_not_know_is_none(jetson: Path) -> None:
    (jetson / "var/lib/nvpmodel/status").write_text("pmode:0007")
    assert read_jetson(jetson).power_mode is None


def fake_module(version: str, **names: object) -> SimpleNamespace:
    return SimpleNamespace(__version__=version, **names)


def test_capabilities_are_what_is_there_not_what_a_version_promises() -> None:
    flags = SimpleNamespace(FP16=0, INT8=1, OBEY_PRECISION_CONSTRAINTS=2)
    config = SimpleNamespace(set_memory_pool_limit=0, builder_optimization_level=3, create_timing_cache=0)
    old = detect(
        fake_module(
            "8.6.2",
            NetworkDefinitionCreationFlag=SimpleNamespace(EXPLICIT_BATCH=0),
            BuilderFlag=flags,
            MemoryPoolType=SimpleNamespace(WORKSPACE=0),
            IBuilderConfig=config,
            IInt8EntropyCalibrator2=object,
        )
    )
    assert (old.explicit_batch_flag, old.strongly_typed, old.precision_flags, old.calibrator) == (
        True,
        False,
        True,
        True,
    )
    assert (old.progress_monitor, old.tactic_dram_pool, old.dla) == (False, False, False)
    new = detect(
        fake_module("10.16.1", NetworkDefinitionCreationFlag=SimpleNamespace(EXPLICIT_BATCH=0, STRONGLY_TYPED=1))
    )
    assert new.precision_from_graph
    assert not new.calibrator


@pytest.mark.parametrize(
    ("version", "said"), [("8.4.1", "older than 8.5"), ("11.4.1", "TensorRT 11"), ("", "not a version")]
)
def test_other_versions_are_refused(version: str, said: str) -> None:
    with pytest.raises(EngineError, match=said):
        detect(fake_module(version))


def caps(**changes: bool) -> Capabilities:
    names = [name for name in Capabilities.__dataclass_fields__ if name != "version"]
    return Capabilities("10.3.0", **{**dict.fromkeys(names, True), **changes})


def job(precision: str, **options: object) -> BuildJob:
    from runtime.contract.engine.build import AccuracyGate

    return BuildJob(
        "sha256:0", "m", "tensorrt", precision, "", (), (), BuildOptions(**options), DeviceFacts("linux/arm64"),
        AccuracyGate(),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("precision", "typed", "options", "graph", "from_graph"),
    [
        ("fp16", True, {}, "fp16", True),
        ("fp16", False, {}, "fp32", False),
        ("fp16", True, {"dla_core": 0}, "fp32", False),
        ("int8", True, {}, "int8", True),
        ("int8", False, {}, "int8", False),
        ("int8", True, {"int8": Int8Options("calibrator")}, "fp32", False),
        ("fp32", False, {}, "fp32", False),
    ],
)
def test_the_road_to_a_precision(precision: str, typed: bool, options: dict, graph: str, from_graph: bool) -> None:
    road = choose_road(job(precision, **options), caps(strongly_typed=typed))
    assert (road.precision, road.from_graph) == (graph, from_graph)


def test_no_calibrator_no_such_road() -> None:
    with pytest.raises(EngineError, match="no calibrator"):
        choose_road(job("int8", int8=Int8Options("calibrator")), caps(calibrator=False))


def test_a_workspace_is_a_quarter_of_the_memory_and_never_more_than_all_of_it() -> None:
    assert choose_workspace(0, NANO) == 2 * GIB
    assert choose_workspace(GIB, NANO) == GIB
    with pytest.raises(EngineError, match="is 16384 MiB, and Orin has 8192 MiB") as caught:
        choose_workspace(16 * GIB, NANO)
    assert caught.value.kind == "memory"


def test_memory_is_looked_at_before() -> None:
    assert check_memory(100 << 20, GIB, Memory(8 * GIB, 0, 8 * GIB), integrated=True) == []
    notes = check_memory(100 << 20, 4 * GIB, Memory(2 * GIB, 0, 8 * GIB), integrated=True)
    assert notes[0].startswith("2048 MiB of memory and 0 MiB of swap are free")
    assert check_memory(100 << 20, 4 * GIB, Memory(2 * GIB, 0, 8 * GIB), integrated=False) == []
    with pytest.raises(EngineError, match="needs at least 712 MiB"):
        check_memory(100 << 20, GIB, Memory(300 << 20, 100 << 20, 8 * GIB), integrated=True)


@pytest.mark.parametrize(
    ("name", "main", "every"),
    [
        ("mobilenet_v2.int8", {"int8": 52}, {"fp32": 3, "fused": 2, "int8": 52}),
        ("resnet50.int8-calibrator", {"int8": 54}, {"fp32": 2, "fused": 1, "int8": 55}),
    ],
)
def test_recorded_engines_are_counted(name: str, main: dict, every: dict) -> None:
    """Written by TensorRT 8.6.0's inspector on an H100."""
    layers = parse_layers((RECORDED / f"{name}.layers.json").read_text())
    assert count_layers(layers) == (every, main)
    assert others(layers, "int8") == ()


def conv(kind: str, name: str = "conv") -> dict:
    return {"Name": name, "LayerType": "CaskConvolution", "ParameterType": "Convolution", "Weights": {"Type": kind}}


def test_fp16_that_came_out_fp32_is_seen() -> None:
    layers = parse_layers(json.dumps({"Layers": [conv("Float", "a"), conv("Half"), conv("Float", "b")]}))
    assert count_layers(layers) == ({"fp16": 1, "fp32": 2}, {"fp16": 1, "fp32": 2})
    assert others(layers, "fp16") == ("a", "b")


def test_where_weights_do_not_say_the_inputs_and_the_kernel_do() -> None:
    gemm = {"Name": "g", "LayerType": "gemm", "Inputs": [{"Format/Datatype": "Row major linear FP16 format"}]}
    bare = {"Name": "b", "LayerType": "CaskGemmMatrixMultiply", "TacticName": "sm80_xmma_gemm_i8i8_i8i32_f32_tn"}
    assert count_layers(parse_layers(json.dumps({"Layers": [gemm, bare]})))[1] == {"fp16": 1, "int8": 1}


def test_control_characters_are_read_and_nonsense_is_not() -> None:
    assert parse_layers('{"Layers": ["a\x01b"]}')[0].name == "a\x01b"
    for text in ("", "[]", "{}"):
        with pytest.raises(EngineError, match="cannot be read"):
            parse_layers(text)


@pytest.mark.parametrize(
    ("logged", "kind", "said"),
    [
        ("2: [graphOptimizer.cpp::mergeScales::1] Error Code 2: Internal Error (Assertion s failed. )", "unsupported",
         "internal error of its own"),
        ("2: [virtualMemoryBuffer.cpp::resizePhysical::140] Error Code 2: OutOfMemory (no further information)",
         "memory", "ran out of memory"),
        ("10: Could not find any implementation for node conv1.", "unsupported", "finds no implementation of a layer"),
        ("3: something else", "unsupported", "something else"),
    ],
)  # fmt: skip
def test_what_tensorrt_logs_becomes_one_sentence(logged: str, kind: str, said: str) -> None:
    error = build_error([logged], "8.6.0")
    assert error.kind == kind
    assert said in error.message
    assert error.hint
    assert build_error([], "8.6.0").message.endswith("it gave no reason")


def test_phases_are_shown_in_tenths_and_only_the_outer_ones() -> None:
    lines: list[str] = []
    phases = Phases(lines.append)
    phases.start("Building", None, 4)
    phases.start("Tactics", "Building", 100)
    phases.start("One layer", "Tactics", 50)
    for index in range(100):
        phases.step("Tactics", index)
        phases.step("One layer", index)
    phases.finish("Tactics")
    phases.step("Tactics", 5)
    assert lines[:2] == ["Building: 4 steps", "Tactics: 100 steps"]
    assert lines[2:] == [f"Tactics: {percent} %" for percent in range(10, 100, 10)]


def test_variation_is_deviation_over_mean() -> None:
    assert variation_of([1.0, 1.0]) == 0
    assert variation_of([1.0, 3.0]) == 0.5
