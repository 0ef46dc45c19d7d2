from __future__ import annotations

import pytest

from runtime.engines.errors import EngineError
from runtime.engines.graph.precision import Layer, count_precisions, require_precision


def test_layers_are_counted_by_what_they_read() -> None:
    layers = [
        Layer("QLinearConv", ("uint8", "float", "uint8", "int8")),
        Layer("QLinearConcat", ("float", "uint8", "uint8")),
        Layer("QLinearAdd", ("uint8",)),
        Layer("Conv", ("float", "float")),
        Layer("Conv", ("float16", "float16")),
        Layer("MatMulInteger", ("uint8", "int8")),
        Layer("Add", ("float", "float")),
        Layer("Add", ("int64", "int64")),
        Layer("DequantizeLinear", ("uint8",)),
        Layer("Cast", ("uint8",)),
        Layer("Transpose", ("uint8",)),
    ]
    every, main = count_precisions(layers)
    assert every == {"fp16": 1, "fp32": 2, "int8": 4}
    assert main == {"fp16": 1, "fp32": 1, "int8": 2}


def test_mostly_float_may_not_call_itself_int8() -> None:
    with pytest.raises(EngineError) as caught:
        require_precision("int8", {"fp32": 52, "int8": 12}, {"fp32": 90, "int8": 200}, allow_mixed=False)
    assert caught.value.message == "int8 engine: 12 of 64 main layers run at int8, the rest at fp32 (52)"
    assert caught.value.kind == "precision"
    assert caught.value.is_gate


def test_half_is_not_most() -> None:
    with pytest.raises(EngineError, match="5 of 10"):
        require_precision("int8", {"fp32": 5, "int8": 5}, {}, allow_mixed=False)
    require_precision("int8", {"fp32": 5, "int8": 6}, {}, allow_mixed=False)


def test_the_manifest_may_allow_it() -> None:
    require_precision("int8", {"fp32": 52}, {}, allow_mixed=True)


def test_without_main_layers_all_count() -> None:
    with pytest.raises(EngineError, match="1 of 4 layers run at int8"):
        require_precision("int8", {}, {"fp32": 3, "int8": 1}, allow_mixed=False)
