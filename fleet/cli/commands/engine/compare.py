"""`fleet engine compare`: two engines or reports side by side."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from fleet.cli import options
from fleet.cli.commands.engine.bench import render as render_bench
from fleet.cli.commands.engine.draw import Picture, write_picture
from fleet.cli.commands.engine.shared import Seconds, Seed, Shape, Threads, asked, counted, fact, ms, on_frames
from fleet.cli.ui.console import conclude, plain, size, table
from fleet.errors import EngineGateError
from runtime.contract.codec import to_dict
from runtime.contract.engine.accuracy_gate import described
from runtime.contract.engine.build import OutputAccuracy
from runtime.contract.engine.engine_facts import CompareAnswer, EngineFacts
from runtime.contract.engine.engine_tool import COMPARE, INSPECT, CompareRequest, InspectRequest

_SHOWN_LAYERS = 40


def run(
    first: Annotated[Path, typer.Argument(metavar="A", help="An engine's folder, a report.json, a .plan or .onnx.")],
    second: Annotated[Path, typer.Argument(metavar="B", help="The same.")],
    no_run: Annotated[bool, typer.Option("--no-run", help="Compare documents only.")] = False,
    input_: Annotated[
        Path | None, typer.Option("--input", help="Frames for both: .npz or image. Default: A's golden frames.")
    ] = None,
    seconds: Seconds = 3.0,
    threads: Threads = 1,
    shape: Shape = None,
    seed: Seed = 0,
    min_cosine: Annotated[
        float | None,
        typer.Option("--min-cosine", min=0, max=1, help="Least cosine between their answers. Else exit 4."),
    ] = None,
    picture: Picture = None,
    as_json: options.Json = False,
) -> None:
    """Compare sizes, precisions by layer, accuracy and latency; run both on the same frames where both can run here."""
    request = CompareRequest(str(first.absolute()), str(second.absolute()), run=not no_run, seconds=seconds)
    request = on_frames(request, input_, threads, shape, seed)
    answer = asked(COMPARE, request, CompareAnswer)
    if picture is not None:
        looks = [
            InspectRequest(path, True, shapes=request.shapes, times=True) for path in (request.first, request.second)
        ]
        write_picture(picture, [asked(INSPECT, look, EngineFacts) for look in looks])
    error = _gate(answer, min_cosine)
    conclude(as_json, to_dict(answer), lambda console: _render(console, answer), error)


def _gate(answer: CompareAnswer, min_cosine: float | None) -> EngineGateError | None:
    if min_cosine is None:
        return None
    if not answer.outputs:
        why = "; ".join(answer.notes) or "they share no output"
        return EngineGateError(
            f"the two outputs were not compared: {why}", hint="leave --min-cosine out, or compare where both run"
        )
    wrong = [item for item in answer.outputs if not item.min_cosine >= min_cosine]
    words = "; ".join(f"{item.output}: cosine {item.min_cosine:.5f} < {min_cosine:.5f}" for item in wrong)
    return EngineGateError(words, hint="look at the layers that differ, or lower --min-cosine") if wrong else None


def _render(console: Console, answer: CompareAnswer) -> None:
    sides = (answer.first, answer.second)
    names = [Path(each.path).name for each in sides]
    if names[0] == names[1]:
        names = [each.path for each in sides]
    rows = table("", plain(f"A = {names[0]}"), plain(f"B = {names[1]}"), "B / A")
    _add_numbers(rows, answer.first, answer.second)
    for item in answer.differences:
        if item.what not in ("kind", "source bytes"):
            rows.add_row(plain(item.what), plain(fact(item.first)), plain(fact(item.second)), "")
    console.print(rows)
    if answer.layers:
        console.print(_layers(answer))
    elif answer.layers_shared:
        console.print(f"  {answer.layers_shared} layers have the same name in both, all at the same precision")
    for output in answer.outputs:
        words = f"B's {output.output} against A's: {described(output)}, on {answer.input}"
        console.print(f"  {plain(words)}")
    if answer.bench is not None:
        console.print("  measured here, in turn:")
        render_bench(console, answer.bench)
    for note in answer.notes:
        console.print(f"  [yellow]note[/] {plain(note)}")


def _relative(item: OutputAccuracy) -> str:
    return "-" if item.relative_error is None else f"{item.relative_error:.4g}"


def _add_numbers(rows: Table, first: EngineFacts, second: EngineFacts) -> None:
    rows.add_row("size", size(first.bytes), size(second.bytes), _ratio(first.bytes, second.bytes))
    reports = (first.report, second.report)
    if reports[0] is None and reports[1] is None:
        return
    for title, read in (
        ("source", lambda report: size(report.source_bytes)),
        ("layers", lambda report: counted(report.layer_precisions)),
        ("main layers", lambda report: counted(report.extra.get("main_layer_precisions"))),
        ("cosine to fp32", lambda report: ", ".join(f"{item.min_cosine:.5f}" for item in report.accuracy)),
        ("relative error to fp32", lambda report: ", ".join(_relative(item) for item in report.accuracy)),
        ("largest error to fp32", lambda report: ", ".join(f"{item.max_abs_error:.4g}" for item in report.accuracy)),
    ):
        rows.add_row(title, *(_of(report, read) for report in reports), "")
    for name in ("p50", "p99"):
        times = [getattr(report.latency, name) if report is not None else None for report in reports]
        rows.add_row(f"{name} when built", *(f"{ms(time)} ms" if time else "-" for time in times), _ratio(*times))
    builds = [report.build_seconds if report is not None else None for report in reports]
    rows.add_row("build", *(f"{time:.1f} s" if time else "-" for time in builds), _ratio(*builds))


def _of(report: Any, read: Callable[[Any], str]) -> str:
    return "-" if report is None else plain(read(report))


def _ratio(first: float | None, second: float | None) -> str:
    return f"{second / first:.3f}" if first and second is not None else ""


def _layers(answer: CompareAnswer) -> Table:
    title = f"{len(answer.layers)} of {answer.layers_shared} layers of one name run at another precision"
    rows = table("layer", "A", "B", title=title)
    for item in answer.layers[:_SHOWN_LAYERS]:
        rows.add_row(plain(item.what), fact(item.first), fact(item.second))
    if len(answer.layers) > _SHOWN_LAYERS:
        rows.add_row(f"… and {len(answer.layers) - _SHOWN_LAYERS} more (--json lists all)", "", "")
    return rows
