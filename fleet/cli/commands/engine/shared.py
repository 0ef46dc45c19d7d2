"""What the verbs of `fleet engine` share: options, asking the engine process, words for tables."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer

from fleet.build.engine_process import ask
from fleet.cli.ui.activity import activity
from fleet.cli.ui.console import plain
from fleet.errors import UsageError
from runtime.contract.codec import T
from runtime.contract.engine.accuracy_gate import described
from runtime.contract.engine.build import EngineReport, Percentiles
from runtime.contract.engine.engine_facts import Latency, LayerFacts
from runtime.contract.engine.engine_tool import BenchRequest, CompareRequest, RunRequest
from runtime.contract.engine.task_metric import TaskMetric

Engine = Annotated[Path, typer.Argument(help="An engine's folder, or a bare .plan or .onnx file.")]
Shape = Annotated[
    list[str] | None,
    typer.Option("--shape", help="INPUT=1x3x288x384, for a bare file that leaves dimensions free. Repeatable."),
]
State = Annotated[
    list[str] | None,
    typer.Option("--state", help="ONNX file: INPUT=OUTPUT, which is kept from frame to frame. Repeatable."),
]
Constant = Annotated[
    list[str] | None, typer.Option("--constant", help="ONNX file: INPUT=NUMBER, for good. Repeatable.")
]
Threads = Annotated[int, typer.Option("--threads", min=1, help="CPU threads of ONNX Runtime; robots use 1.")]
Seed = Annotated[int, typer.Option("--seed", min=0, help="Of the random frames, where there are no others.")]
Seconds = Annotated[float, typer.Option("--seconds", min=0.01, max=3600, help="How long to measure each engine.")]
Running = TypeVar("Running", BenchRequest, RunRequest, CompareRequest)
_SHAPE = re.compile(r"(?P<name>.+?)[=:](?P<sizes>\d+(?:x\d+)*)")


def asked(verb: str, request: Any, answer: type[T]) -> T:
    """Ask the engine process, with its lines as progress. Raises FleetError."""
    with activity() as shown:
        shown.update("engine", "starting")
        return ask(verb, request, answer, lambda line: shown.update("engine", line[:160]))


def shapes(given: Sequence[str] | None) -> dict[str, tuple[int, ...]]:
    """Return ``x=1x3x288x384`` as a shape by name. Raises UsageError."""
    found = {}
    for text in given or ():
        match = _SHAPE.fullmatch(text)
        sizes = tuple(map(int, match["sizes"].split("x"))) if match else ()
        if match is None or 0 in sizes:
            raise UsageError(f"--shape {text} is not a shape", hint="write the input's name and sizes: x=1x3x288x384")
        found[match["name"]] = sizes
    return found


def states(given: Sequence[str] | None) -> dict[str, str]:
    """Return ``h_in=h_out`` as output by input. Raises UsageError."""
    found = {}
    for text in given or ():
        name, separator, output = text.partition("=")
        if not (name and separator and output):
            raise UsageError(f"--state {text} is no state", hint="write the input and the output that it takes: h0=hn")
        found[name] = output
    return found


def constants(given: Sequence[str] | None) -> dict[str, float]:
    """Return ``sr=16000`` as number by input. Raises UsageError."""
    found = {}
    for text in given or ():
        name, _, number = text.partition("=")
        try:
            found[name] = float(number)
        except ValueError as error:
            raise UsageError(f"--constant {text} is no number", hint="write input and number: sr=16000") from error
        if not name or not math.isfinite(found[name]):
            raise UsageError(f"--constant {text} is no number", hint="write input and number: sr=16000")
    return found


def on_frames(request: Running, input_: Path | None, threads: int, shape: Sequence[str] | None, seed: int) -> Running:
    """Return the request with what all verbs that run engines take: on which frames, and how. Raises UsageError."""
    return replace(request, input=absolute(input_), threads=threads, shapes=shapes(shape), seed=seed)


def absolute(path: Path | None) -> str | None:
    """Return a path for the engine process, which runs in another folder."""
    return None if path is None else str(path.absolute())


def ms(value: float | None) -> str:
    """Return milliseconds with as many digits as matter."""
    if value is None:
        return ""
    return f"{value:.3f}" if value < 10 else f"{value:.2f}"


def latency_cells(latency: Latency) -> list[str]:
    """Return p50, p90, p95, p99, mean, least and largest."""
    return [ms(getattr(latency, name)) for name in ("p50", "p90", "p95", "p99", "mean", "min", "max")]


def counted(counts: Mapping[str, Any] | None) -> str:
    """Return ``62 fp32, 3 int8``."""
    return ", ".join(f"{count} {name}" for name, count in (counts or {}).items())


def percentiles(latency: Percentiles) -> str:
    """Return ``p50 15.1, p90 15.3, p99 16.0 ms``."""
    return f"p50 {ms(latency.p50)}, p90 {ms(latency.p90)}, p99 {ms(latency.p99)} ms over {latency.count}"


def metric_rows(measured: TaskMetric | None) -> list[tuple[str, str]]:
    """Return (``top1 to fp32``, ``0.995 (scores, 200 frames, limit 0.99)``), and the same to golden where there is."""
    if measured is None:
        return []
    limit = "not judged" if measured.limit is None else f"limit {measured.limit:g}"
    sides = ((measured.to_fp32, "fp32"), (measured.to_golden, "golden"))
    what = f"({measured.output}, {measured.frames} frames, {limit})"
    return [(f"{measured.name} to {side}", f"{value:.5g} {what}") for value, side in sides if value is not None]


def quality_rows(report: EngineReport) -> Iterator[tuple[str, str]]:
    """Yield what a report says of layers, accuracy and task metric, as rows of a table of facts."""
    main = report.extra.get("main_layer_precisions")
    yield "layers", counted(report.layer_precisions) + (f"; main layers: {counted(main)}" if main else "")
    for title, measured in (("to fp32", report.accuracy), ("to golden", report.golden_accuracy)):
        for item in measured:
            yield title, plain(f"{described(item)} ({item.output})")
    for title, words in metric_rows(report.metric):
        yield title, plain(words)
    for found in report.decoded:
        agrees = "" if found.agreement is None else f"; agreement with fp32 {found.agreement:.3f}"
        yield "decoded", plain(f"{found.decoder} of {found.output}: {found.said}{agrees}")


def fact(value: Any) -> str:
    """Return one fact of a table; a digest cut to what tells things apart."""
    text = "-" if value is None else str(value)
    digest = text.removeprefix("sha256:")
    return digest[:12] if re.fullmatch(r"[0-9a-f]{64}", digest) else text


def layer_count(layers: Sequence[LayerFacts]) -> dict[str, int]:
    """Return how many layers there are at each precision; those that only move values are not counted."""
    found: dict[str, int] = {}
    for layer in layers:
        if layer.precision is not None:
            found[layer.precision] = found.get(layer.precision, 0) + 1
    return found
