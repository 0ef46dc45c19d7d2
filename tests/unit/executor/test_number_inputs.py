"""Arrays and single numbers into tensors of every element type: the same number, or refused."""

from __future__ import annotations

import array
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from runtime.contract.node.inputs import ARRAYS, SINGLES, dtype_problem
from runtime.contract.node.runtime_config import InputBinding
from runtime.decoding.decoders import OptionError
from runtime.executor.inputs.adapters import adapter_for
from runtime.executor.inputs.frames import FrameRefusedError

standard = pytest.importorskip("std_msgs.msg", reason="needs ROS 2's messages (pip install jetfleet[ros])")
serialize: Callable[[Any], bytes] = pytest.importorskip("rclpy.serialization").serialize_message
pytestmark = pytest.mark.filterwarnings("ignore:module 'sre_parse'", "ignore:module 'sre_constants'")  # of a dependency


def message(kind: str, values: list[Any]) -> Any:
    name = kind.rpartition("/")[2]
    if kind in SINGLES:
        return getattr(standard, name)(data=values[0])
    codes = {
        "f4": "f",
        "f8": "d",
        "i1": "b",
        "i2": "h",
        "i4": "i",
        "i8": "q",
        "u1": "B",
        "u2": "H",
        "u4": "I",
        "u8": "Q",
    }
    return getattr(standard, name)(data=array.array(codes[ARRAYS[kind]], values))


def through(kind: str, values: list[Any], dtype: str, engine: str = "") -> list[Any]:
    shape = () if kind in SINGLES else (len(values),)
    adapter = adapter_for(InputBinding("n", "/in", kind, shape=shape, dtype=dtype))
    tensor = np.zeros(shape, engine or dtype)
    adapter.fill(adapter.take(serialize(message(kind, values))).data, tensor)
    return tensor.ravel().tolist()


@pytest.mark.parametrize("kind", [kind for kind in (*ARRAYS, *SINGLES) if kind != "std_msgs/msg/Bool"])
def test_every_message_of_numbers_is_taken(kind: str) -> None:
    values = [7] if kind in SINGLES else [7, 0, 3]
    floats = "Float" in kind
    given = [float(value) for value in values] if floats else values
    for dtype in ("float32", "float64") if floats else ("int64", "int32", "float32"):
        assert through(kind, given, dtype) == values


def test_truth_values() -> None:
    assert through("std_msgs/msg/Bool", [True], "bool") == [True]
    assert through("std_msgs/msg/Bool", [False], "float32") == [0.0]
    assert through("std_msgs/msg/UInt8MultiArray", [1, 0], "bool") == [True, False]


REFUSED = [
    ("std_msgs/msg/Int32MultiArray", [1, 300], "uint8", "", "value 1 is 300, which uint8 cannot hold"),
    ("std_msgs/msg/Int32MultiArray", [-1], "uint8", "", "value 0 is -1, which uint8 cannot hold"),
    ("std_msgs/msg/Int64MultiArray", [2**40], "int64", "int32", "which int32 cannot hold"),
    ("std_msgs/msg/Int64MultiArray", [2**24 + 1], "float32", "", "which float32 cannot hold"),
    ("std_msgs/msg/UInt64MultiArray", [2**63], "int64", "", "which int64 cannot hold"),
    ("std_msgs/msg/UInt8MultiArray", [1, 2], "bool", "", "value 1 is 2, which bool cannot hold"),
    ("std_msgs/msg/Float64MultiArray", [1e39], "float32", "", "value 0 is not a finite float32"),
    ("std_msgs/msg/Float32MultiArray", [70000.0], "float16", "", "value 0 is not a finite float16"),
    ("std_msgs/msg/Float32", [float("nan")], "float32", "", "value 0 is not a finite float32"),
]


@pytest.mark.parametrize(("kind", "values", "dtype", "engine", "says"), REFUSED)
def test_what_a_tensor_cannot_hold_is_refused(kind: str, values: Any, dtype: str, engine: str, says: str) -> None:
    with pytest.raises(FrameRefusedError, match="value") as caught:
        through(kind, values, dtype, engine)
    assert says in str(caught.value)


@pytest.mark.parametrize(
    ("kind", "shape", "dtype", "says"),
    [
        ("std_msgs/msg/Float32MultiArray", (1, 2), "int64", "cannot fill int64: take std_msgs/msg/Int32MultiArray"),
        ("sensor_msgs/msg/LaserScan", (1, 4), "float64", "cannot fill float64, but float32"),
        ("std_msgs/msg/Int32", (1, 2), "int32", "[1, 2] takes 2 values, but std_msgs/msg/Int32 is one"),
    ],
)
def test_a_message_that_cannot_fill_a_tensor_is_refused_before(kind: str, shape: Any, dtype: str, says: str) -> None:
    with pytest.raises(OptionError) as caught:
        adapter_for(InputBinding("n", "/in", kind, shape=shape, dtype=dtype))
    assert says in str(caught.value)


def test_an_imu_fills_a_tensor_of_doubles() -> None:
    assert dtype_problem("sensor_msgs/msg/Imu", "float64") == ()
    assert dtype_problem("sensor_msgs/msg/Imu", "int64") != ()


def test_a_scalar_and_a_state_of_two_layers_need_no_batch() -> None:
    for shape in ((), (1,), (2, 1, 3), (6,)):
        size = int(np.prod(shape))
        binding = InputBinding("n", "/in", "std_msgs/msg/Float32MultiArray", shape=shape)
        adapter, tensor = adapter_for(binding), np.zeros(shape, np.float32)
        raw = serialize(standard.Float32MultiArray(data=array.array("f", range(size))))
        adapter.fill(adapter.take(raw).data, tensor)
        assert tensor.ravel().tolist() == list(range(size))
