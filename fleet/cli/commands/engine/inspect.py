"""`fleet engine inspect`: what an engine, a plan, an ONNX file or a report is, and whether it belongs here."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from fleet.cli import options
from fleet.cli.commands.engine.draw import Picture, write_picture
from fleet.cli.commands.engine.shared import (
    Shape,
    absolute,
    asked,
    counted,
    fact,
    layer_count,
    ms,
    percentiles,
    quality_rows,
    shapes,
)
from fleet.cli.ui.console import conclude, fact_table, plain, size, table
from fleet.errors import GateError
from runtime.contract.codec import to_dict
from runtime.contract.engine.accuracy_gate import relative_limit
from runtime.contract.engine.build import DeviceFacts
from runtime.contract.engine.engine_facts import EngineFacts, OnnxFacts, TensorFacts
from runtime.contract.engine.engine_tool import INSPECT, InspectRequest

_OPERATORS = 12


def run(
    path: Annotated[Path, typer.Argument(help="An engine's folder, a .plan or .onnx file, or a report.json.")],
    layers: Annotated[bool, typer.Option("--layers", help="List every layer with its precision.")] = False,
    check: Annotated[
        bool,
        typer.Option("--check", help="Check it against this machine, as a robot does. Exit 4: it does not fit."),
    ] = False,
    shape: Shape = None,
    picture: Picture = None,
    as_json: options.Json = False,
) -> None:
    """Say what a file is without running it: device, tensors, precisions, what its build measured."""
    wanted = layers or picture is not None
    request = InspectRequest(str(absolute(path)), wanted, check, shapes(shape), times=picture is not None)
    facts = asked(INSPECT, request, EngineFacts)
    if picture is not None:
        write_picture(picture, [facts])
    verdict = facts.verdict
    error = GateError(verdict.message, hint=verdict.hint) if verdict is not None and not verdict.fits else None
    conclude(as_json, to_dict(facts), lambda console: _render(console, path, facts, layers), error)


def _render(console: Console, path: Path, facts: EngineFacts, layers: bool) -> None:
    rows = fact_table()
    rows.add_row("file", plain(f"{path} ({facts.kind})"))
    rows.add_row("size", f"{size(facts.bytes)}, sha256 {facts.sha256[:12]}")
    _add_identity(rows, facts)
    if facts.plan is not None:
        rows.add_row("plan header", f"TensorRT {facts.plan.tensorrt}" if facts.plan.tensorrt else "has no version")
    if facts.onnx is not None:
        _add_onnx(rows, facts.onnx, with_tensors=facts.identity is None)
    _add_report(rows, facts)
    if facts.verdict is not None:
        rows.add_row("here", "[green]fits[/]" if facts.verdict.fits else "[red]does not fit[/]")
    console.print(rows)
    for note in facts.notes:
        console.print(f"  [yellow]note[/] {plain(note)}")
    if layers and facts.layers:
        console.print(_layer_table(facts))


def _add_identity(rows: Table, facts: EngineFacts) -> None:
    identity = facts.identity
    if identity is None:
        return
    rows.add_row("engine", plain(f"{identity.model} {identity.precision}, {identity.backend}"))
    rows.add_row("key", fact(identity.key))
    core = "" if identity.dla_core is None else f", on DLA core {identity.dla_core}"
    rows.add_row("device", device(identity.device) + core)
    for what, specs in (("input", identity.inputs), ("output", identity.outputs)):
        for spec in specs:
            rows.add_row(what, plain(f"{spec.name} {spec.dtype} {'x'.join(map(str, spec.shape))}"))
    gate = identity.self_test
    relative = f", relative error {relative_limit(gate):.3g}"
    largest = "" if gate.max_abs_error is None else f", largest error {gate.max_abs_error:g}"
    rows.add_row("self-test", f"cosine >= {gate.min_cosine:g}{relative}{largest}")


def device(facts: DeviceFacts) -> str:
    """Return what is claimed of a device, in one line."""
    words = {
        "module": facts.module, "L4T": facts.l4t, "SMs": facts.sm_count, "CUDA": facts.cuda, "TensorRT": facts.tensorrt
    }  # fmt: skip
    return ", ".join([facts.platform, *(f"{name} {value}" for name, value in words.items() if value is not None)])


def _add_onnx(rows: Table, onnx: OnnxFacts, *, with_tensors: bool) -> None:
    rows.add_row(
        "ONNX", plain(f"opset {onnx.opset}, IR {onnx.ir_version}, by {onnx.producer or 'an unnamed exporter'}")
    )
    if with_tensors:
        for what, tensors in (("input", onnx.inputs), ("output", onnx.outputs)):
            for tensor in tensors:
                rows.add_row(what, plain(_tensor(tensor)))
    common = dict(list(onnx.operators.items())[:_OPERATORS])
    rest = onnx.nodes - sum(common.values())
    rows.add_row("operators", plain(f"{onnx.nodes}: {counted(common)}" + (f", {rest} others" if rest else "")))
    weights = ", ".join(f"{size(count)} {name}" for name, count in onnx.weight_bytes.items())
    rows.add_row("weights", f"{size(sum(onnx.weight_bytes.values()))}: {weights}" if weights else "none")


def _tensor(tensor: TensorFacts) -> str:
    shape = "?" if tensor.shape is None else "x".join(map(str, tensor.shape)) or "scalar"
    return f"{tensor.name} {tensor.dtype} {shape}"


def _add_report(rows: Table, facts: EngineFacts) -> None:
    report = facts.report
    if report is None:
        if facts.layers:
            rows.add_row("layers", counted(layer_count(facts.layers)))
        return
    for title, words in quality_rows(report):
        rows.add_row(title, words)
    rows.add_row("latency then", f"{percentiles(report.latency)}; build {ms(report.build_seconds)} s")
    rows.add_row("built with", plain(", ".join(f"{name} {version}" for name, version in report.versions.items())))
    for note in report.notes:
        rows.add_row("note", plain(note))


def _layer_table(facts: EngineFacts) -> Table:
    rows = table("layer", "kind", "precision", title=f"{len(facts.layers)} layers")
    for layer in facts.layers:
        rows.add_row(plain(layer.name), plain(layer.kind), layer.precision or "[dim]moves[/]")
    return rows
