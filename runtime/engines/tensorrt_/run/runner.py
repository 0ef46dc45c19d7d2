"""A loaded TensorRT engine: named tensors, everything allocated once, one stream, no work but copies and kernels."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy.typing as npt

from runtime.contract.engine.build import EngineIdentity
from runtime.engines.errors import EngineError
from runtime.engines.tensorrt_.run.buffers import Buffer, allocate
from runtime.engines.tensorrt_.run.context import CUDA
from runtime.engines.tensorrt_.run.cuda_graph import CapturedGraph
from runtime.engines.tensorrt_.run.found_output import FoundOutput, is_found
from runtime.engines.tensorrt_.run.plan import OpenPlan

if TYPE_CHECKING:
    import tensorrt as trt

Arrays = Mapping[str, npt.NDArray[Any]]


class TensorRtRunner:
    """One execution context of a plan, with its own buffers and stream. Several may share one plan. One thread's."""

    def __init__(self, plan: OpenPlan, identity: EngineIdentity, *, profile: int = 0, cuda_graph: bool = False) -> None:
        """Allocate for the shapes of ``identity`` and run once. ``cuda_graph`` records the inference and replays it.

        Raises EngineError.
        """
        CUDA.acquire()
        self.identity = identity
        self._plan: OpenPlan | None = plan.share()
        self._graph: CapturedGraph | None = None
        self._context: trt.IExecutionContext | None = None
        self._buffers: list[Buffer] = []
        self._found: dict[str, FoundOutput] = {}
        self._stream: Any = None
        try:
            self._prepare(plan, profile)
            self.infer()  # the first run loads kernels and sizes workspaces; it must not be a frame's
            if cuda_graph:
                self._record()
        except BaseException:
            self.close()
            raise

    def _prepare(self, plan: OpenPlan, profile: int) -> None:
        import pycuda.driver as cuda

        self._cuda: Any = cuda
        identity = self.identity
        stream = self._stream = cuda.Stream()
        self._context = context = plan.new_context()
        if profile and not context.set_optimization_profile_async(profile, stream.handle):
            raise EngineError("corrupt", f"the engine has no optimization profile {profile}", "build the engine again")
        for spec in identity.inputs:
            plan.set_shape(context, spec)
        plan.check(context, identity)
        self._in = [allocate(spec, mapped=plan.gpu.integrated) for spec in identity.inputs]
        fixed = [spec for spec in identity.outputs if not is_found(spec)]
        self._out = [allocate(spec, mapped=plan.gpu.integrated) for spec in fixed]
        for spec in identity.outputs:
            if is_found(spec):
                self._found[spec.name] = FoundOutput(spec, context, mapped=plan.gpu.integrated)
        self._buffers = [*self._in, *self._out, *(each.buffer for each in self._found.values())]
        for buffer in (*self._in, *self._out):
            if not context.set_tensor_address(buffer.name, buffer.address):
                raise plan.failed(f"engine {identity.model!r} does not take the address of {buffer.name!r}")
        self.inputs: Arrays = _named(self._in)
        self._given = {buffer.name: buffer.host for buffer in self._out}
        self._given.update({name: each.view() for name, each in self._found.items()})
        self.outputs: Arrays = MappingProxyType(self._given)

    def _record(self) -> None:
        if self._found:
            raise EngineError(
                "unsupported",
                f"output {next(iter(self._found))!r} has another size in every frame, and a CUDA graph has one",
                "run the engine without a CUDA graph",
            )
        self._graph = CapturedGraph(int(self._stream.handle), self._enqueue)

    def infer(self) -> Arrays:
        """Run on what is in ``inputs``; return the output buffers, valid until the next call. Raises EngineError."""
        if self._plan is None:
            raise EngineError("internal", f"engine {self.identity.model!r} is closed", "load it again")
        CUDA.check()
        try:
            graph = self._graph
            if graph is None:
                self._enqueue()
            else:
                graph.launch()
            self._stream.synchronize()
        except self._cuda.Error as error:
            raise EngineError(
                "internal",
                f"engine {self.identity.model!r} failed on the GPU: {error}",
                "restart the runtime: the CUDA context of this process is lost",
            ) from error
        for name, each in self._found.items():
            self._given[name] = each.view()
        return self.outputs

    def _enqueue(self) -> None:
        self._copy_in()
        self._execute()
        self._copy_out()

    def _copy_in(self) -> None:
        for buffer in self._in:
            if buffer.copies:
                self._cuda.memcpy_htod_async(buffer.address, buffer.host, self._stream)

    def _execute(self) -> None:
        if self._plan is None or self._context is None:
            raise EngineError("internal", f"engine {self.identity.model!r} is closed", "load it again")
        if not self._context.execute_async_v3(self._stream.handle):
            raise self._plan.failed(f"engine {self.identity.model!r} failed to run")

    def _copy_out(self) -> None:
        for buffer in self._out:
            if buffer.copies:
                self._cuda.memcpy_dtoh_async(buffer.host, buffer.address, self._stream)
        for each in self._found.values():  # TensorRT has said how much there is by the time it returns
            if each.buffer.copies and each.count:
                self._cuda.memcpy_dtoh_async(each.buffer.host[: each.count], each.buffer.address, self._stream)

    def profile_with(self, profiler: trt.IProfiler) -> None:
        """Have TensorRT report each layer's time to ``profiler`` from the next :meth:`infer` on.

        Raises EngineError on a closed engine.
        """
        if self._context is None:
            raise EngineError("internal", f"engine {self.identity.model!r} is closed", "load it again")
        self._context.profiler = profiler

    def timed(self) -> tuple[float, float, float]:
        """Run once; return the milliseconds of copies in, kernels, copies out, by the GPU's own clock.

        Raises EngineError.
        """
        CUDA.check()
        marks = [self._cuda.Event() for _ in range(4)]
        marks[0].record(self._stream)
        for mark, part in zip(marks[1:], (self._copy_in, self._execute, self._copy_out), strict=True):
            part()
            mark.record(self._stream)
        marks[3].synchronize()
        first, second, third = (float(marks[i + 1].time_since(marks[i])) for i in range(3))
        return first, second, third

    def close(self) -> None:
        """Free context, buffers and this runner's hold on the plan. Closing twice is fine."""
        if self._plan is None:
            return
        CUDA.check()
        if self._stream is not None:
            self._stream.synchronize()
        if self._graph is not None:
            self._graph.close()
        self._graph = self._context = self._stream = None
        plan, self._plan = self._plan, None
        plan.close()
        # The views stay valid for who still holds them; their memory goes after the last one.
        CUDA.free_unseen([buffer.host for buffer in self._buffers])
        self._in = self._out = []
        self._buffers.clear()
        self._found, self._given = {}, {}
        self.inputs = self.outputs = MappingProxyType({})
        CUDA.release()


def _named(buffers: list[Buffer]) -> Arrays:
    return MappingProxyType({buffer.name: buffer.host for buffer in buffers})
