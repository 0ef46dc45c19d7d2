"""What in an engine's layers costs time for nothing, or more than others: found in the report, not measured again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from runtime.contract.engine.engine_facts import LayerFacts

HEAVY = 0.10
"""Share of all layers' time above which one is named."""
_CONVERTS = ("reformat", "cast", "quantizelinear", "dequantizelinear", "reorderinput", "reorderoutput", "transpose",
             "copy")  # fmt: skip
_LOW = ("int8", "fp16", "fp8", "bf16")


@dataclass(frozen=True)
class Finding:
    """One thing to look at."""

    kind: str
    """``heavy`` | ``island`` | ``pair``."""
    layer: int
    """Index of the layer."""
    text: str


def is_conversion(layer: LayerFacts) -> bool:
    """Say whether a layer only changes a type or a layout: a cast, a reformat, quantize or dequantize."""
    kind = layer.kind.lower()
    return layer.precision is None and any(word in kind for word in _CONVERTS)


def findings(layers: Sequence[LayerFacts]) -> list[Finding]:
    """Return layers that take more than a tenth of the time, fp32 islands, and pairs of conversions."""
    return [*_heavy(layers), *_islands(layers), *_pairs(layers)]


def _heavy(layers: Sequence[LayerFacts]) -> list[Finding]:
    total = sum(layer.ms or 0.0 for layer in layers)
    if total <= 0:
        return []
    shares = ((index, layer, (layer.ms or 0.0) / total) for index, layer in enumerate(layers))
    heavy = sorted((each for each in shares if each[2] > HEAVY), key=lambda each: -each[2])
    return [Finding("heavy", index, f"{share:.0%} of the time: {layer.name}") for index, layer, share in heavy]


def _islands(layers: Sequence[LayerFacts]) -> list[Finding]:
    """Return fp32 layers all of whose neighbours, past conversions, run at a lower precision.

    Where tensors are not known, neighbours are the layers before and after.
    """
    before, after = _neighbours(layers)
    found = []
    for index, layer in enumerate(layers):
        if layer.precision != "fp32" or not (before[index] and after[index]):
            continue
        around = [_computing(layers, start, step) for step, starts in ((before, before[index]), (after, after[index]))
                  for start in starts]  # fmt: skip
        kinds = {layers[each].precision for each in around if each is not None}
        if None not in around and kinds <= set(_LOW):
            words = ", ".join(sorted(str(kind) for kind in kinds))
            found.append(Finding("island", index, f"fp32 between {words}: {layer.name}"))
    return found


def _computing(layers: Sequence[LayerFacts], start: int, step: Sequence[Sequence[int]]) -> int | None:
    """Return the first layer from ``start`` on that computes, past those that convert; None where a path ends."""
    for _ in range(len(layers)):
        if layers[start].precision is not None:
            return start
        if len(step[start]) != 1:
            return None
        start = step[start][0]
    return None


def _pairs(layers: Sequence[LayerFacts]) -> list[Finding]:
    """Return conversions whose result another conversion reads: one of the two could be enough."""
    _, after = _neighbours(layers)
    found = []
    for index, layer in enumerate(layers):
        others = [layers[other] for other in after[index] if is_conversion(layer) and is_conversion(layers[other])]
        costly = [other for other in others if layer.ms is None or layer.ms + (other.ms or 0.0) > 0.0]
        if costly:
            more = f" and {len(costly) - 1} more" if len(costly) > 1 else ""
            found.append(Finding("pair", index, f"two conversions in a row: {layer.name}, {costly[0].name}{more}"))
    return found


def _neighbours(layers: Sequence[LayerFacts]) -> tuple[list[list[int]], list[list[int]]]:
    """Return for every layer those that it reads from, and those that read from it."""
    if not any(layer.reads or layer.writes for layer in layers):
        count = len(layers)
        return (
            [[index - 1] if index else [] for index in range(count)],
            [[index + 1] if index < count - 1 else [] for index in range(count)],
        )
    maker = {name: index for index, layer in enumerate(layers) for name in layer.writes}
    before: list[list[int]] = [[] for _ in layers]
    after: list[list[int]] = [[] for _ in layers]
    for index, layer in enumerate(layers):
        for name in dict.fromkeys(layer.reads):
            source = maker.get(name)
            if source is not None and source != index and source not in before[index]:
                before[index].append(source)
                after[source].append(index)
    return before, after
