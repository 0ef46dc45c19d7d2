"""Entries of ``outputs`` for what was recognised: decoders that this version has, and outputs as they are."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from fleet.errors import UsageError
from fleet.manifest.files.onnx_graph import Tensor
from fleet.manifest.proposal.inspected import Inspected
from fleet.manifest.proposal.proposal import Head, Published, as_it_is, supported

_NO_ARRAYS = frozenset({"bfloat16", "string", "undefined", "complex64", "complex128"})


def propose_outputs(
    head: Head | None, outputs: Mapping[str, Tensor], graph: Inspected
) -> tuple[list[Published], list[str]]:
    """Return what is published, and what should be checked. Raises UsageError where no output is an array."""
    usable = {name: tensor for name, tensor in outputs.items() if tensor.dtype not in _NO_ARRAYS}
    usable = {name: tensor for name, tensor in usable.items() if name not in graph.inputs}
    notes = [f"output {name} is left out: {_why_left(name, tensor)}" for name, tensor in outputs.items()
             if name not in usable]  # fmt: skip
    if not usable:
        raise UsageError(
            f"{graph.path}: no output is an array of numbers that the model makes",
            hint="export the model with a float32 output (a Cast), or without the last step",
        )
    if head is None:
        notes.append("the outputs are of no family that is known here: they are published as they are (decoder tensor)")
        return [_plain(name, tensor, index, "") for index, (name, tensor) in enumerate(usable.items())], notes
    kept: list[Published] = []
    for each in head.published:
        if supported(each):
            kept.append(each)
            notes.append(f"{head.family}{'' if head.sure else ' (a guess)'}: {each.why}")
            continue
        why = f"{head.family}: {each.why}; this version has no decoder {each.decoder} for that"
        notes.append(f"{why}: published as it is")
        kept += [_plain(name, usable[name], index, why) for index, name in enumerate(each.takes) if name in usable]
    taken = {name for each in kept for name in each.takes}
    left = [name for name in usable if name not in taken]
    kept += [_plain(name, usable[name], len(kept) + i, "") for i, name in enumerate(left) if name not in head.unused]
    unused = [name for name in left if name in head.unused]
    if unused:
        notes.append(f"outputs {', '.join(unused)} are not published: the decoder needs none of them")
    return kept, [*notes, *head.notes]


def _why_left(name: str, tensor: Tensor) -> str:
    if tensor.dtype not in _NO_ARRAYS:
        return f"it is the input {name}, unchanged"
    return "it is no tensor" if tensor.dtype == "undefined" else f"it is {tensor.dtype}, which no robot reads"


def _plain(name: str, tensor: Tensor, index: int, why: str) -> Published:
    shape = tensor.shape
    count = None if shape is None or None in shape else int(np.prod([size or 1 for size in shape], dtype=np.int64))
    return as_it_is(name, count, f"output_{index}", why or f"{tensor.dtype} {tensor.shown}, as it is")
