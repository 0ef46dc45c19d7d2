"""A builder's sensitivity report as lines for a person: what costs the accuracy, what to write into the manifest."""

from __future__ import annotations

import json
import re
import textwrap

from fleet.errors import EngineGateError
from runtime.contract.engine.build import BuildFailure
from runtime.contract.engine.sensitivity import SensitiveNode, Sensitivity

MOST_ROWS = 8
_WIDTH = 110
_PLAIN = re.compile(r"[A-Za-z_/][A-Za-z0-9_./-]*")
_NOT_PLAIN = frozenset({"true", "false", "yes", "no", "on", "off", "null", "y", "n"})
_KEYS = {"int8": "exclude_nodes", "fp16": "keep_fp32_nodes"}


def gate_error(message: str, failure: BuildFailure, *, remedy: str) -> EngineGateError:
    """Return a gate's "no" with all that was measured of the reasons. ``remedy``: what to do with lines that passed."""
    found = failure.sensitivity
    if found is not None:
        message += "".join(f"\n  {line}" if line else "\n" for line in sensitivity_lines(found))
    known = found is not None and found.verified and not found.note
    return EngineGateError(message, hint=remedy if known else failure.hint, sensitivity=found)


def sensitivity_lines(found: Sensitivity) -> list[str]:
    """Return the report as lines of at most about 110 characters, nothing more than was measured."""
    lines = _table(found.nodes, found.precision) if found.nodes else []
    if found.keep:
        lines += ["", *_advice(found), *yaml_lines(found)]
    if found.note:
        lines += textwrap.wrap(f"note: {found.note}", _WIDTH)
    if found.bound:
        lines += textwrap.wrap(f"measured in ONNX Runtime on the golden frames: {found.bound}", _WIDTH)
    return lines


def _table(nodes: tuple[SensitiveNode, ...], precision: str) -> list[str]:
    shown = nodes[:MOST_ROWS]
    head = (f"node at {precision} alone", "operator", "cosine", "error", "of the gate", "local noise")
    rows = [head, *(_row(node) for node in shown)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(head))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    more = len(nodes) - len(shown)
    return [*lines, f"… and {more} more, each less"] if more else lines


def _row(node: SensitiveNode) -> tuple[str, ...]:
    share = f"{node.severity:.0%}" if node.severity < 100 else "> 100 times"
    noise = "" if node.qsnr_db is None else f"{node.qsnr_db:.0f} dB"
    return node.node, node.operator, f"{node.min_cosine:.5f}", f"{node.max_abs_error:.3g}", share, noise


def _advice(found: Sensitivity) -> list[str]:
    if not found.verified or found.min_cosine is None:
        return ["A guess, NOT verified to pass, for the model's file:"]
    plural = "s" if len(found.keep) != 1 else ""
    numbers = f"cosine {found.min_cosine:.5f}, error {found.max_abs_error:.3g}"
    return [
        f"With {len(found.keep)} node{plural} more in float the accuracy gate passed ({numbers}). In the model's file:"
    ]


def yaml_lines(found: Sensitivity) -> list[str]:
    """Return what the model's file must say: what it declares already, and the nodes that were found."""
    names = ", ".join(map(_scalar, dict.fromkeys((*found.declared, *found.keep))))
    key = f"    {_KEYS[found.precision]}: ["
    body = textwrap.fill(
        f"{names}]",
        _WIDTH,
        initial_indent=key,
        subsequent_indent=" " * len(key),
        break_long_words=False,
        break_on_hyphens=False,
    )
    return ["precisions:", f"  {found.precision}:", *body.splitlines()]


def _scalar(name: str) -> str:
    plain = _PLAIN.fullmatch(name) and name.lower() not in _NOT_PLAIN
    return name if plain else json.dumps(name, ensure_ascii=False)
