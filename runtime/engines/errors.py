"""The one error of this package. It becomes a BuildFailure in a builder and a failed model on a robot."""

from __future__ import annotations

import re

from runtime.contract.engine.sensitivity import Sensitivity

#: Kinds that are a gate's "no" (exit code 4 of the builder job); every other kind is a failure to build (3).
GATE_KINDS = frozenset({"accuracy", "latency", "precision"})
_NOT_REGISTERED = re.compile(r"Fatal error: (\S+?)\(-?\d+\) is not a registered function/op")


class EngineError(Exception):
    """An engine cannot be built, loaded or trusted.

    ``kind`` is a word of :attr:`runtime.contract.engine.build.BuildFailure.kind`; the message is one sentence with both
    numbers or both sides; ``hint`` says what to do.
    """

    def __init__(self, kind: str, message: str, hint: str, *, detail: str = "") -> None:
        super().__init__(message)
        self.kind = kind
        self.message = message
        self.hint = hint
        self.detail = detail
        self.sensitivity: Sensitivity | None = None
        """Of a failed accuracy gate, once it has been looked into."""

    def __str__(self) -> str:
        return f"{self.message} ({self.hint})" if self.hint else self.message

    @property
    def is_gate(self) -> bool:
        """True when the engine was built, and a gate refused it."""
        return self.kind in GATE_KINDS


class ForeignOperatorError(EngineError):
    """ONNX Runtime does not have one of the model's operators: a plugin of TensorRT, or something of somebody's own."""

    def __init__(self, operator: str) -> None:
        super().__init__(
            "unsupported",
            f"ONNX Runtime has no operator {operator}",
            "a plugin of TensorRT needs a tensorrt profile, and expected outputs in the golden data; or export the "
            "model without it (decoder boxes does its own suppression)",
        )
        self.operator = operator


def of_onnxruntime(error: Exception, otherwise: EngineError) -> EngineError:
    """Return what ONNX Runtime's refusal of a model means: an operator that it does not have, else ``otherwise``."""
    found = _NOT_REGISTERED.search(str(error))
    return ForeignOperatorError(found.group(1)) if found else otherwise
