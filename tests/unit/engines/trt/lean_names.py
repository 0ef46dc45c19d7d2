"""Every name that the runner takes from TensorRT exists in the runtime of 10.16, as its lean bindings show.

``make check-tensorrt`` fetches those and runs this file; the other tests leave it out by its name. No GPU needed. The
bindings cannot build, so the builder's names are checked by mypy against the stubs of 10.13 instead.
"""

from __future__ import annotations

import ast
import importlib
from pathlib import Path
from types import ModuleType

import pytest

SOURCES = Path(__file__).parents[4] / "runtime/engines/tensorrt_"
RUNTIME = ("run/plan.py", "run/runner.py", "run/found_output.py", "log.py")
#: Methods and properties that the runner uses, by the class that has them.
METHODS = {
    "Runtime": ("deserialize_cuda_engine", "DLA_core"),
    "ICudaEngine": (
        "create_execution_context", "get_tensor_name", "get_tensor_shape",
        "get_tensor_dtype", "get_tensor_mode", "num_io_tensors",
    ),
    "IExecutionContext": (
        "set_tensor_address", "execute_async_v3", "set_input_shape", "get_tensor_shape",
        "set_optimization_profile_async", "get_max_output_size", "set_output_allocator",
    ),
}  # fmt: skip
TYPES = ("FLOAT", "HALF", "INT8", "INT32", "BOOL", "UINT8", "INT64")


@pytest.fixture(scope="module")
def lean() -> ModuleType:
    return importlib.import_module("tensorrt_lean_bindings")


def used(file: str) -> set[str]:
    """Return ``trt.X`` and ``trt.X.Y`` as the source writes them; annotations are left to mypy."""
    tree = ast.parse((SOURCES / file).read_text("utf-8"))
    found = set()
    for node in ast.walk(tree):
        text = ast.unparse(node) if isinstance(node, ast.Attribute) else ""
        if text.startswith("trt."):
            found.add(text)
    return found


def test_names_of_the_module(lean: ModuleType) -> None:
    names = set().union(*map(used, RUNTIME))
    assert {"trt.Runtime", "trt.ILogger", "trt.TensorIOMode.INPUT"} <= names
    for name in sorted(names):
        value = lean
        for part in name.split(".")[1:]:
            value = getattr(value, part)


@pytest.mark.parametrize("owner", METHODS)
def test_methods_that_are_called(lean: ModuleType, owner: str) -> None:
    text = "".join((SOURCES / file).read_text("utf-8") for file in RUNTIME[:3])
    for name in METHODS[owner]:
        assert f".{name}" in text, f"{name} is no longer used"
        assert hasattr(getattr(lean, owner), name)


def test_element_types(lean: ModuleType) -> None:
    assert set(TYPES) <= set(lean.DataType.__members__)
    assert lean.DataType.FLOAT.name == "FLOAT"


def test_a_logger_of_ours_is_one_of_its(lean: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    from runtime.engines.tensorrt_.log import LogKeeper, make_logger

    monkeypatch.setitem(sys.modules, "tensorrt", lean)
    keeper = LogKeeper(lambda _: None)
    make_logger(keeper).log(lean.ILogger.ERROR, "said")
    assert keeper.errors == ["said"]
