"""One engine, or two side by side, drawn as SVG: readable on a light and on a dark page, without scripts.

A bar a layer, in the order in which they run, as wide as its share of the time. Colours are told apart by people who do
not see them all (Okabe and Ito's set), and every bar says its precision in text too.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from xml.sax.saxutils import escape, quoteattr

from fleet.cli.ui.picture.lints import Finding, findings, is_conversion
from runtime.contract.engine.engine_facts import LayerFacts

MOST_LAYERS = 400
"""Drawn one by one; of more, those that take least time are one bar."""
_MOST_FINDINGS = 12
_MOST_LETTERS = 64
_COLUMN, _GAP, _ROW, _TOP = 640, 40, 16, 142
_BARS, _LONGEST, _IN_A_ROW = 150, 180, 3
"""Where the bars begin, how wide the longest is, and how many entries of the legend stand in a row."""
_COLOURS = {
    "fp32": "#d55e00", "fp16": "#0072b2", "bf16": "#56b4e9", "int8": "#009e73", "fp8": "#cc79a7", "fused": "#8a7a2f",
}  # fmt: skip
_OTHER, _CONVERSION = "#7f7f7f", "#e69f00"
_MARKS = {"heavy": "▲", "island": "◆", "pair": "⇄"}
_WORDS = {"heavy": "takes over 10 %", "island": "fp32 island", "pair": "conversions in a row"}
_STYLE = """\
text { font: 11px system-ui, sans-serif; fill: #1a1a1a }
.title { font-size: 15px; font-weight: 600 }
.dim { fill: #5a5a5a }
.page { fill: #ffffff }
.line { stroke: #c8c8c8 }
.bar { stroke: #1a1a1a; stroke-opacity: .35; stroke-width: .5 }
@media (prefers-color-scheme: dark) {
  text { fill: #f0f0f0 } .dim { fill: #b0b0b0 } .page { fill: #161616 } .line { stroke: #505050 }
  .bar { stroke: #f0f0f0 }
}"""


@dataclass(frozen=True)
class Drawing:
    """One engine."""

    title: str
    subtitle: str
    layers: tuple[LayerFacts, ...]


def picture(drawings: Sequence[Drawing]) -> str:
    """Return an SVG document of one engine, or of several side by side with one scale."""
    columns = [_shown(drawing) for drawing in drawings]
    found = [findings(drawing.layers) for drawing in drawings]
    notes = [_notes(each) for each in found]
    scale = max((layer.ms or 0.0 for rows in columns for layer in rows), default=0.0)
    top = _TOP + _ROW * max((len(each) for each in notes), default=0) + 24
    parts = []
    for index, (drawing, rows) in enumerate(zip(drawings, columns, strict=True)):
        content = [*_head(drawing), *notes[index], *_bars(drawing, rows, found[index], top, scale)]
        moved = f'<g transform="translate({index * (_COLUMN + _GAP) + 20},0)">'
        parts.append(moved + "\n".join(content) + "</g>")
    width = len(drawings) * (_COLUMN + _GAP)
    height = top + _ROW * max((len(rows) for rows in columns), default=0) + 20
    label = quoteattr(_printable("Layers of " + " and ".join(_cut(drawing.title) for drawing in drawings)))
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}" '
        f'role="img" aria-label={label}>\n<style>{_STYLE}</style>\n'
        f'<rect class="page" width="{width}" height="{height}"/>\n' + "\n".join(parts) + "\n</svg>\n"
    )


def _shown(drawing: Drawing) -> list[LayerFacts]:
    """Return the layers that are drawn; the cheapest of very many become one."""
    layers = list(drawing.layers)
    if len(layers) <= MOST_LAYERS:
        return layers
    kept = set(sorted(range(len(layers)), key=lambda index: -(layers[index].ms or 0.0))[:MOST_LAYERS])
    rest = [layer for index, layer in enumerate(layers) if index not in kept]
    together = LayerFacts(f"{len(rest)} more layers", "", None, sum(layer.ms or 0.0 for layer in rest))
    return [*(layer for index, layer in enumerate(layers) if index in kept), together]


def _bars(drawing: Drawing, rows: Sequence[LayerFacts], found: Sequence[Finding], top: int, scale: float) -> list[str]:
    marks: dict[str, str] = {}
    for finding in found:
        name = drawing.layers[finding.layer].name
        if _MARKS[finding.kind] not in marks.get(name, ""):
            marks[name] = marks.get(name, "") + _MARKS[finding.kind]
    total = sum(layer.ms or 0.0 for layer in rows)
    return [
        _bar(layer, top + index * _ROW, scale, total, marks.get(layer.name, "")) for index, layer in enumerate(rows)
    ]


def _head(drawing: Drawing) -> list[str]:
    total = sum(layer.ms or 0.0 for layer in drawing.layers)
    known = (
        f"{len(drawing.layers)} layers, {total:.3f} ms together"
        if total > 0
        else f"{len(drawing.layers)} layers, times unknown"
    )
    subtitle = f"{_cut(drawing.subtitle, 80)}; {known}"
    return [_text(0, 24, _cut(drawing.title), "title"), _text(0, 42, subtitle, "dim"), *_legend(drawing.layers, total)]


def _legend(layers: Sequence[LayerFacts], total: float) -> list[str]:
    """Return how much time each precision takes, and what the marks mean."""
    spent: dict[str, tuple[float, int]] = {}
    for layer in layers:
        kind = _kind(layer)
        time, count = spent.get(kind, (0.0, 0))
        spent[kind] = (time + (layer.ms or 0.0), count + 1)
    parts = []
    for index, (kind, (time, count)) in enumerate(sorted(spent.items(), key=lambda item: -item[1][0])):
        share = f" {time:.3f} ms, {time / total:.0%}" if total > 0 else ""
        x, y = index % _IN_A_ROW * (_COLUMN // _IN_A_ROW), 58 + index // _IN_A_ROW * 18
        parts.append(f'<rect class="bar" x="{x}" y="{y}" width="10" height="10" fill="{_colour(kind)}"/>'
                     + _text(x + 15, y + 9, f"{kind}: {count}{share}"))  # fmt: skip
    marks = "   ".join(f"{_MARKS[kind]} {words}" for kind, words in _WORDS.items())
    return [*parts, _text(0, 130, marks, "dim"), f'<path class="line" d="M0 138H{_COLUMN}"/>']


def _bar(layer: LayerFacts, y: int, scale: float, total: float, marks: str) -> str:
    kind = _kind(layer)
    width = max(1.0, _LONGEST * (layer.ms or 0.0) / scale) if scale > 0 else 1.0
    share = f" ({(layer.ms or 0.0) / total:.0%})" if total > 0 and layer.ms is not None else ""
    time = "time unknown" if layer.ms is None else f"{layer.ms:.4f} ms{share}"
    hover = f"{_cut(layer.name, 300)}\n{_cut(layer.kind)}, {kind}, {time}\n{_cut(layer.formats, 300)}"
    label = f"{_short(layer.kind)} {kind}" if kind != _short(layer.kind) else kind
    return (
        f"<g><title>{_safe(hover)}</title>"
        + _text(_BARS - 6, y + 10, label, "dim", end=True)
        + f'<rect class="bar" x="{_BARS}" y="{y + 2}" width="{width:.1f}" height="{_ROW - 4}" fill="{_colour(kind)}"/>'
        + _text(_BARS + int(width) + 5, y + 10, f"{marks + ' ' if marks else ''}{_cut(layer.name, 48)}")
        + "</g>"
    )


def _notes(found: Sequence[Finding]) -> list[str]:
    lines = [f"{_MARKS[item.kind]} {_cut(item.text, 96)}" for item in found[:_MOST_FINDINGS]]
    if len(found) > _MOST_FINDINGS:
        lines.append(f"and {len(found) - _MOST_FINDINGS} more, marked below")
    if not found:
        lines = ["No layer takes over 10 %, no fp32 islands, no conversions in a row."]
    return [_text(0, _TOP + 12 + index * _ROW, line) for index, line in enumerate(lines)]


def _kind(layer: LayerFacts) -> str:
    if layer.precision is not None:
        return layer.precision
    return "conversion" if is_conversion(layer) else "moves values"


def _colour(kind: str) -> str:
    return _CONVERSION if kind == "conversion" else _COLOURS.get(kind, _OTHER)


def _short(kind: str) -> str:
    """Return one word for a layer's kind: TensorRT says ``convolution caskconvolution``."""
    return _cut(kind.split(" ", maxsplit=1)[0] or "layer", 18)


def _cut(text: str, most: int = _MOST_LETTERS) -> str:
    return text if len(text) <= most else text[: most - 1] + "…"


def _safe(text: str) -> str:
    """Return text that XML may hold: escaped, and without what XML has no form for."""
    return escape(_printable(text))


def _printable(text: str) -> str:
    return "".join(sign if sign.isprintable() or sign == "\n" else "\N{REPLACEMENT CHARACTER}" for sign in text)


def _text(x: int, y: int, text: str, style: str = "", *, end: bool = False) -> str:
    attributes = (f' class="{style}"' if style else "") + (' text-anchor="end"' if end else "")
    return f'<text x="{x}" y="{y}"{attributes}>{_safe(text)}</text>'
