"""A deserialized plan, shared by the execution contexts that run it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from runtime.contract.engine.build import EngineIdentity, TensorSpec
from runtime.engines.errors import EngineError
from runtime.engines.tensorrt_.device import Gpu
from runtime.engines.tensorrt_.log import LogKeeper, make_logger
from runtime.engines.tensorrt_.run.context import CUDA

if TYPE_CHECKING:
    import tensorrt as trt

_REBUILD = "build it again for this device's profile: fleet build, then publish and roll out"


class OpenPlan:
    """One engine in memory. Counts who uses it, and is freed with the last one."""

    def __init__(self, file: Path, gpu: Gpu, *, dla_core: int | None = None) -> None:
        """Deserialize. Raises EngineError ``corrupt`` when TensorRT refuses the plan."""
        import tensorrt as trt

        CUDA.acquire()
        self.gpu = gpu
        self._users = 1
        self._keeper = LogKeeper(lambda _: None)
        self._logger = make_logger(self._keeper)
        try:
            self._runtime: trt.Runtime | None = trt.Runtime(self._logger)
            if dla_core is not None:
                self._runtime.DLA_core = dla_core  # before deserializing: afterwards it is ignored
            engine: trt.ICudaEngine | None = self._runtime.deserialize_cuda_engine(file.read_bytes())
            if engine is None:
                raise self.failed(f"TensorRT {trt.__version__} refuses {file.name}", "corrupt")
            self.engine: trt.ICudaEngine = engine
        except BaseException:
            self._runtime = None
            CUDA.release()
            raise

    def share(self) -> OpenPlan:
        """Count one more user; each calls :meth:`close` once."""
        self._users += 1
        return self

    def close(self) -> None:
        """Give up one user's hold."""
        self._users -= 1
        if self._users == 0:
            del self.engine
            self._runtime = None
            CUDA.release()

    def new_context(self) -> trt.IExecutionContext:
        """Return a new execution context. Raises EngineError ``memory`` when there is no room for it."""
        context: trt.IExecutionContext | None = self.engine.create_execution_context()
        if context is None:
            raise self.failed("there is no room for another execution context", "memory")
        return context

    def set_shape(self, context: trt.IExecutionContext, spec: TensorSpec) -> None:
        """Give a dynamic input the shape of ``spec``. Raises EngineError when no profile holds it."""
        if spec.name not in self._names() or -1 not in shape_of(self.engine.get_tensor_shape(spec.name)):
            return
        if not context.set_input_shape(spec.name, spec.shape):
            raise self.failed(f"input {spec.name!r} cannot be {list(spec.shape)}", "corrupt")

    def check(self, context: trt.IExecutionContext, identity: EngineIdentity) -> None:
        """Compare the plan's tensors with the sidecar's: a swapped file must not run with the wrong buffers."""
        import tensorrt as trt

        there = self._names()
        declared = {spec.name: spec for spec in (*identity.inputs, *identity.outputs)}
        for name in (*declared, *there):
            if name not in there or name not in declared:
                where = "which engine.json names" if name not in there else "which engine.json does not name"
                has = "has no tensor" if name not in there else "has the tensor"
                raise EngineError("corrupt", f"the engine {has} {name!r}, {where}", _REBUILD)
            spec, shape = declared[name], shape_of(context.get_tensor_shape(name))
            dtype = dtype_name(self.engine.get_tensor_dtype(name))
            is_input = self.engine.get_tensor_mode(name) == trt.TensorIOMode.INPUT
            if (shape, dtype, is_input) != (spec.shape, spec.dtype, spec in identity.inputs):
                raise EngineError(
                    "corrupt",
                    f"tensor {name!r} is {dtype} {list(shape)} in the engine, "
                    f"but {spec.dtype} {list(spec.shape)} in engine.json",
                    _REBUILD,
                )

    def _names(self) -> list[str]:
        return tensor_names(self.engine)

    def failed(self, what: str, kind: str = "internal") -> EngineError:
        """Return an error with what TensorRT logged last."""
        said = " ".join(self._keeper.errors[-1].split())[:240] if self._keeper.errors else "it gives no reason"
        return EngineError(kind, f"{what}: {said}", _REBUILD, detail="\n".join(self._keeper.errors))


#: TensorRT's element types by the name of their enum value → numpy's. trt.nptype() breaks with newer numpy on 8.x.
_DTYPES = {
    "FLOAT": "float32",
    "HALF": "float16",
    "INT8": "int8",
    "INT32": "int32",
    "BOOL": "bool",
    "UINT8": "uint8",
    "INT64": "int64",
}


def dtype_name(value: trt.DataType) -> str:
    """Return numpy's name of an element type, or TensorRT's own where numpy has none."""
    name: str = value.name
    return _DTYPES.get(name, name.lower())


def shape_of(dims: trt.Dims) -> tuple[int, ...]:
    """Return a shape as a tuple; a dynamic dimension is -1."""
    return tuple(int(dims[index]) for index in range(len(dims)))


def tensor_names(engine: trt.ICudaEngine) -> list[str]:
    """Return the names of inputs and outputs, in the engine's order."""
    return [engine.get_tensor_name(index) for index in range(engine.num_io_tensors)]


def tensor_specs(engine: trt.ICudaEngine) -> tuple[tuple[TensorSpec, ...], tuple[TensorSpec, ...]]:
    """Return inputs and outputs as the engine has them; a dynamic dimension is -1."""
    import tensorrt as trt

    inputs: list[TensorSpec] = []
    outputs: list[TensorSpec] = []
    for name in tensor_names(engine):
        spec = TensorSpec(name, shape_of(engine.get_tensor_shape(name)), dtype_name(engine.get_tensor_dtype(name)))
        (inputs if engine.get_tensor_mode(name) == trt.TensorIOMode.INPUT else outputs).append(spec)
    return tuple(inputs), tuple(outputs)
