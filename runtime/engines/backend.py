"""What every engine backend offers: build an engine from a job, and run one.

One thread owns a :class:`Runner`. Its buffers are made once; a caller writes frames into ``runner.inputs[name]`` in
place, calls :meth:`Runner.infer` and reads the returned views before the next call.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from runtime.contract.engine.build import BuildJob, DeviceFacts, EngineIdentity, TensorSpec
from runtime.engines.errors import EngineError

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from runtime.engines.weight_loss import WeightLoss

Progress = Callable[[str], None]
"""Called with one line (no newline) of progress."""


@dataclass(frozen=True)
class BuildPaths:
    """Where a build finds its inputs and leaves its engine."""

    model: Path
    """The source ONNX file."""
    calibration: Path | None
    """Folder of images, or an .npz file; only int8 needs it."""
    out: Path
    """Existing folder; the engine file is written into it under a temporary name and renamed when whole."""
    timing_cache: Path | None = None
    """What earlier builds on this kind of device measured, where that was given; a backend that measures leaves the
    new one in ``out`` under ``TIMING_CACHE_FILE``."""
    timing_folder: Path | None = None
    """More of them, of this and other devices, named by :func:`runtime.contract.engine.timing.timing_file`."""
    cache: Path | None = None
    """Folder that builds on this machine share, for what speeds up the next one; None: nothing is kept."""
    sequence: Callable[[Any, Any], Any] | None = None
    """Calibration frames of the job and the source model → frames with states and observations. None: there are no
    such."""


@dataclass(frozen=True)
class BuiltEngine:
    """An engine file and what is known of it before it has run on golden data."""

    file: Path
    inputs: tuple[TensorSpec, ...]
    """The engine's own inputs: a preprocessed image is uint8, (1, height, width, channels)."""
    outputs: tuple[TensorSpec, ...]
    layer_precisions: dict[str, int]
    """Layers that really run at each precision, of all layers that compute."""
    main_precisions: dict[str, int]
    """The same, of convolutions and matrix products alone: they decide whether a precision claim is honest."""
    notes: tuple[str, ...] = ()
    extra: dict[str, Any] = field(default_factory=dict)
    weight_losses: tuple[WeightLoss, ...] = ()
    """fp16: what each weight that was converted has lost; empty where the backend converts them itself."""


class Runner(Protocol):
    """One loaded engine with preallocated buffers. Owned by one thread."""

    identity: EngineIdentity
    inputs: Mapping[str, npt.NDArray[Any]]
    """Input buffers, C-contiguous, shapes and dtypes of ``identity.inputs``; filled in place by the caller."""

    def infer(self) -> Mapping[str, npt.NDArray[np.generic]]:
        """Run on what is in ``inputs``; return views of the output buffers, valid until the next call.

        Raises EngineError.
        """
        ...

    def close(self) -> None:
        """Free the engine. ``infer`` raises EngineError afterwards. Closing twice is fine."""
        ...


class Backend(Protocol):
    """One way to build and run engines."""

    name: str
    """``onnxruntime`` or ``tensorrt``, as a profile names it."""
    any_thread: bool
    """An engine may be loaded on one thread and run on another, as long as one at a time uses it."""

    def versions(self) -> dict[str, str]:
        """Return the versions of what is imported here: package or tool → version."""
        ...

    def device_facts(self) -> DeviceFacts:
        """Return what this machine says it is. A fact that does not apply here is None."""
        ...

    def newest_opset(self) -> int | None:
        """Return the newest ONNX operator set that graphs for this backend may have; None: any."""
        ...

    def build(self, job: BuildJob, paths: BuildPaths, progress: Progress) -> BuiltEngine:
        """Build the engine that ``job`` asks for. Raises EngineError."""
        ...

    def load(self, engine_dir: Path, threads: int = 1) -> Runner:
        """Check the engine in ``engine_dir`` against its sidecar, load it and run it once. Raises EngineError."""
        ...


#: Backend name → (module that defines ``BACKEND``, the packages it imports).
_BACKENDS = {
    "onnxruntime": ("runtime.engines.onnxruntime_", ("numpy", "onnxruntime")),
    "tensorrt": ("runtime.engines.tensorrt_", ("numpy", "tensorrt", "pycuda")),
}


def backend_named(name: str) -> Backend:
    """Return the backend called ``name``. Raises EngineError when there is none, or its packages are missing."""
    if name not in _BACKENDS:
        known = ", ".join(sorted(_BACKENDS))
        raise EngineError(
            "unsupported",
            f"there is no engine backend {name!r} here",
            f"use a profile whose backend is one of: {known}",
        )
    module, packages = _BACKENDS[name]
    try:
        for package in packages:
            importlib.import_module(package)
    except ImportError as error:
        raise EngineError(
            "unsupported",
            f"backend {name!r} needs the package {package!r}, which cannot be imported: {error}",
            "run in the image built for the profile; on a laptop, install the distribution's `runtime` extra and use "
            "backend onnxruntime (TensorRT comes with the platform, never from pip)",
        ) from error
    backend: Backend = importlib.import_module(module).BACKEND
    return backend
