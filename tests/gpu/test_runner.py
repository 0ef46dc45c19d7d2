"""The runner against a bare loop, against the textbook's executor, and what it promises about threads and memory."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from runtime.contract.engine.build import AccuracyGate, DeviceFacts, EngineIdentity, TensorSpec
from runtime.engines.errors import EngineError
from runtime.engines.tensorrt_.build.builder import build_plan
from runtime.engines.tensorrt_.build.request import PlanRequest, ShapeRange
from runtime.engines.tensorrt_.device import find_gpu
from runtime.engines.tensorrt_.run.context import CUDA
from runtime.engines.tensorrt_.run.latency import host_percentiles
from runtime.engines.tensorrt_.run.plan import OpenPlan
from runtime.engines.tensorrt_.run.runner import TensorRtRunner
from tests.gpu import networks
from tests.gpu.site import NETWORKS, Site, backend, frames
from tests.unit.engines.test_preprocess import expected


@pytest.fixture
def runner(site: Site) -> Iterator[TensorRtRunner]:
    folder, _ = site.engine("resnet50", "fp16")
    loaded = backend().load(folder)
    yield loaded
    loaded.close()


def p50(samples: list[float]) -> float:
    return float(np.percentile(samples, 50))


def bare_loop(runner: TensorRtRunner, seconds: float) -> list[float]:
    """The same calls without our runner: one context, pinned buffers, one stream."""
    import pycuda.driver as cuda

    context = runner._context
    assert context is not None
    stream = runner._stream
    inputs, outputs = runner._in, runner._out
    samples = []
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        start = time.perf_counter()
        for item in inputs:
            cuda.memcpy_htod_async(item.address, item.host, stream)
        context.execute_async_v3(stream.handle)
        for item in outputs:
            cuda.memcpy_dtoh_async(item.host, item.address, stream)
        stream.synchronize()
        samples.append((time.perf_counter() - start) * 1e3)
    return samples


def textbook(runner: TensorRtRunner, count: int) -> tuple[list[float], list[float]]:
    """Context, stream, pinned and device memory made anew for every frame, as a node does that calls
    ``allocate_buffers`` of TensorRT's Python samples (``samples/python/common.py``) in its callback.

    Returns milliseconds of every frame, and of its new context alone.
    """
    import pycuda.driver as cuda

    assert runner._plan is not None
    engine = runner._plan.engine
    samples, contexts = [], []
    for _ in range(count):
        start = time.perf_counter()
        context = engine.create_execution_context()
        contexts.append((time.perf_counter() - start) * 1e3)
        stream = cuda.Stream()
        held = []
        for spec in (*runner.identity.inputs, *runner.identity.outputs):
            host = cuda.pagelocked_empty(spec.shape, spec.dtype)
            device = cuda.mem_alloc(host.nbytes)
            context.set_tensor_address(spec.name, int(device))
            held.append((spec, host, device))
        for spec, host, device in held:
            if spec in runner.identity.inputs:
                cuda.memcpy_htod_async(device, host, stream)
        context.execute_async_v3(stream.handle)
        for spec, host, device in held:
            if spec in runner.identity.outputs:
                cuda.memcpy_dtoh_async(host, device, stream)
        stream.synchronize()
        samples.append((time.perf_counter() - start) * 1e3)
    return samples, contexts


def test_costs_no_more_than_a_bare_loop(runner: TensorRtRunner) -> None:
    ours, bare = [], []
    bare_loop(runner, 0.5)
    for _ in range(4):  # in turns, so that a clock that changes changes both
        bare.append(p50(bare_loop(runner, 1.0)))
        ours.append(host_percentiles(runner, 1.0).p50)
    print(f"RUNNER p50 ms: ours {ours}, bare {bare}")
    assert min(ours) <= 1.05 * min(bare)


def short_of(times: str) -> pytest.MarkDecorator:
    """Mark a network for which the claim of 30 does not hold: ours is the bare loop, and the textbook is not slower."""
    return pytest.mark.xfail(strict=True, reason=f"{times} times on 2026-11-26, H100, TensorRT 8.6.0")


@pytest.mark.parametrize(
    ("network", "precision"),
    [
        ("mobilenet_v2", "int8"),
        pytest.param("resnet50", "fp16", marks=short_of("17.7 and 21.1")),
        pytest.param("resnet50", "fp32", marks=short_of("13.9")),
        pytest.param("detector", "fp16", marks=short_of("26.9")),
    ],
)
def test_costs_a_thirtieth_of_the_textbook(site: Site, network: str, precision: str) -> None:
    folder, _ = site.engine(network, precision)
    runner, graph = backend().load(folder), backend().load(folder, cuda_graph=True)
    bare_loop(runner, 0.5)
    ours, replayed = host_percentiles(runner, 1.0).p50, host_percentiles(graph, 1.0).p50
    slow, context = (p50(samples) for samples in textbook(runner, 100))
    runner.close()
    graph.close()
    print(f"TEXTBOOK {network} {precision} p50 ms: ours {ours:.4f}, a CUDA graph {replayed:.4f}, textbook {slow:.2f} "
          f"(context {context:.2f}): {slow / ours:.1f} and {slow / replayed:.1f} times")  # fmt: skip
    assert slow >= 30 * ours


def test_same_frame_same_answer_and_no_new_memory(runner: TensorRtRunner) -> None:
    import pycuda.driver as cuda

    picture = frames(1, NETWORKS["resnet50"].camera)[0]
    runner.inputs["image"][0] = picture
    first = runner.infer()["logits"].copy()
    where, free = runner.infer()["logits"].ctypes.data, cuda.mem_get_info()[0]
    for _ in range(300):
        runner.infer()
    assert runner.infer()["logits"].ctypes.data == where
    assert cuda.mem_get_info()[0] == free
    np.testing.assert_array_equal(runner.outputs["logits"], first)


def test_two_contexts_share_one_plan(site: Site) -> None:
    folder, report = site.engine("resnet50", "fp16")
    plan = OpenPlan(folder / "engine.plan", find_gpu())
    one, two = (TensorRtRunner(plan, report.identity) for _ in range(2))
    plan.close()
    pictures = frames(2, NETWORKS["resnet50"].camera)
    one.inputs["image"][0], two.inputs["image"][0] = pictures
    first, second = one.infer()["logits"].copy(), two.infer()["logits"].copy()
    assert not np.array_equal(first, second)
    one.close()
    np.testing.assert_array_equal(two.infer()["logits"], second)
    two.close()


def test_a_recorded_graph_answers_the_same(site: Site) -> None:
    folder, _ = site.engine("mobilenet_v2", "fp16")
    picture = frames(1, NETWORKS["mobilenet_v2"].camera)[0]
    answers = {}
    for recorded in (False, True):
        loaded = backend().load(folder, cuda_graph=recorded)
        loaded.inputs["image"][0] = picture
        answers[recorded] = loaded.infer()["logits"].copy()
        print(f"GRAPH {recorded}: p50 {host_percentiles(loaded, 1.0).p50:.4f} ms")
        loaded.close()
    np.testing.assert_array_equal(answers[False], answers[True])


def test_preprocessing_in_the_engine_equals_numpy(site: Site) -> None:
    folder, _ = site.engine("identity", "fp32")
    network = NETWORKS["identity"]
    loaded = backend().load(folder)
    for picture in frames(3, network.camera, seed=3):
        loaded.inputs["image"][0] = picture
        found = loaded.infer()["tensor"][0]
        preprocess = network.image().preprocess
        assert preprocess is not None
        wanted = expected(preprocess, network.size, network.size, picture[None])
        worst = float(np.abs(found - wanted).max())
        print(f"PREPROCESS largest error {worst:.2e}")
        assert worst <= 1e-3
    loaded.close()


def test_dynamic_shapes_by_optimization_profiles(site: Site, tmp_path: Path) -> None:
    graph = networks.dynamic(tmp_path / "dynamic.onnx")
    ranges = tuple(
        (ShapeRange("image", (low, 3, 16, 16), (high, 3, 16, 16), (high, 3, 16, 16)),) for low, high in ((1, 4), (5, 8))
    )
    sources = backend()._tactic_sources
    request = PlanRequest(
        str(graph), str(tmp_path / "engine.plan"), str(tmp_path / "layers.json"), "fp32", 1 << 28,
        optimization_level=0, tactic_sources=sources, profiles=ranges,
    )  # fmt: skip
    answer, _ = build_plan(request, deadline_s=120, progress=print)
    assert answer.inputs[0].shape == (-1, 3, 16, 16)
    plan = OpenPlan(tmp_path / "engine.plan", find_gpu())
    name = answer.outputs[0].name
    batch = np.random.default_rng(0).normal(size=(8, 3, 16, 16)).astype(np.float32)
    found = {}
    for profile, count in ((0, 2), (1, 8)):
        identity = _identity((count, 3, 16, 16), (count, 16, 16, 16), name)
        loaded = TensorRtRunner(plan, identity, profile=profile)
        loaded.inputs["image"][...] = batch[:count]
        found[count] = loaded.infer()[name].copy()
        loaded.close()
    with pytest.raises(EngineError, match=r"cannot be \[9, 3, 16, 16\]"):
        TensorRtRunner(plan, _identity((9, 3, 16, 16), (9, 16, 16, 16), name), profile=1)
    plan.close()
    np.testing.assert_allclose(found[8][:2], found[2], rtol=1e-2, atol=1e-2)


def _identity(image: tuple[int, ...], output: tuple[int, ...], name: str) -> EngineIdentity:
    return EngineIdentity(
        "sha256:0", "dynamic", "tensorrt", "fp32", "engine.plan", "", 0, DeviceFacts("linux/amd64"),
        (TensorSpec("image", image),), (TensorSpec(name, output),), AccuracyGate(),
    )  # fmt: skip


def test_another_thread_is_told_so(runner: TensorRtRunner) -> None:
    said: list[str] = []

    def other() -> None:
        try:
            runner.infer()
        except EngineError as error:
            said.append(error.message)

    thread = threading.Thread(target=other)
    thread.start()
    thread.join(10)
    assert said == ["an engine was used by a thread that does not own CUDA here"]


def test_a_closed_engine_says_so_and_gives_the_context_back(site: Site) -> None:
    folder, _ = site.engine("tiny", "fp32")
    loaded = backend().load(folder)
    loaded.close()
    loaded.close()
    with pytest.raises(EngineError, match="is closed"):
        loaded.infer()
    assert CUDA._users == 0


def test_a_process_that_forgets_to_close_ends_well(site: Site) -> None:
    folder, _ = site.engine("tiny", "fp32")
    script = (
        "from pathlib import Path; from runtime.engines.tensorrt_.backend import TensorRtBackend\n"
        f"runner = TensorRtBackend().load(Path({str(folder)!r})); runner.infer(); print('ran')"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=120, check=False)
    assert (done.returncode, done.stdout.strip()) == (0, "ran"), done.stderr


def test_a_sidecar_of_other_tensors_is_refused(site: Site) -> None:
    folder, report = site.engine("tiny", "fp32")
    plan = OpenPlan(folder / "engine.plan", find_gpu())
    wrong = replace(report.identity, outputs=(TensorSpec("logits", (1, 11)),))
    with pytest.raises(EngineError, match=r"tensor 'logits' is float32 \[1, 10\] in the engine, but float32 \[1, 11\]"):
        TensorRtRunner(plan, wrong)
    plan.close()
