"""`fleet engine bench`: how long an inference takes here, of one engine or of two in turn."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from fleet.cli import options
from fleet.cli.commands.engine.shared import Engine, Seconds, Seed, Shape, Threads, asked, latency_cells, ms, on_frames
from fleet.cli.ui.console import conclude, plain, size, table
from fleet.errors import EngineGateError
from runtime.contract.codec import to_dict
from runtime.contract.engine.engine_facts import BenchAnswer, EngineBench, Ratio
from runtime.contract.engine.engine_tool import BENCH, BenchRequest

_PARTS = (("host", "host"), ("  copies in", "h2d"), ("  kernels", "compute"), ("  copies out", "d2h"))


def run(
    engine: Engine,
    second: Annotated[
        Path | None, typer.Argument(metavar="[OTHER]", help="A second one, measured in turn with the first.")
    ] = None,
    input_: Annotated[
        Path | None, typer.Option("--input", help="An .npz of frames or an image. Default: the golden frames.")
    ] = None,
    seconds: Seconds = 3.0,
    iterations: Annotated[
        int | None, typer.Option("--iterations", min=1, help="Inferences of each engine, instead of --seconds.")
    ] = None,
    warm_up: Annotated[float, typer.Option("--warm-up", min=0, help="Seconds that are not counted.")] = 0.2,
    threads: Threads = 1,
    cuda_graph: Annotated[bool, typer.Option("--cuda-graph", help="TensorRT: replay a recorded inference.")] = False,
    shape: Shape = None,
    seed: Seed = 0,
    max_p99: Annotated[
        float | None, typer.Option("--max-p99", min=0, help="Milliseconds: the host's p99 above it is exit 4.")
    ] = None,
    as_json: options.Json = False,
) -> None:
    """Measure latency: warm-up, then at least 3 s; host, and where the GPU's clock tells, copies and kernels."""
    paths = [engine] if second is None else [engine, second]
    request = BenchRequest(
        engines=tuple(str(path.absolute()) for path in paths),
        seconds=seconds,
        iterations=iterations,
        warm_up_seconds=warm_up,
        cuda_graph=cuda_graph,
    )
    answer = asked(BENCH, on_frames(request, input_, threads, shape, seed), BenchAnswer)
    error = _gate(answer, max_p99)
    conclude(as_json, to_dict(answer), lambda console: render(console, answer), error)


def _gate(answer: BenchAnswer, max_p99: float | None) -> EngineGateError | None:
    slow = [each for each in answer.engines if max_p99 is not None and not each.host.p99 <= max_p99]
    if not slow:
        return None
    words = "; ".join(f"{each.model} {each.precision}: p99 {ms(each.host.p99)} ms > {ms(max_p99)} ms" for each in slow)
    return EngineGateError(words, hint="use a smaller input or a lower precision, end other work, or raise --max-p99")


def render(console: Console, answer: BenchAnswer) -> None:
    """Print what was measured, and under which conditions."""
    rows = table("engine", "ms", "p50", "p90", "p95", "p99", "mean", "min", "max", "CoV", "n")
    for name, each in zip(_names(answer.engines), answer.engines, strict=True):
        for title, part in _PARTS:
            latency = getattr(each, part)
            if latency is not None:
                first = plain(name) if part == "host" else ""
                rows.add_row(first, title, *latency_cells(latency), f"{latency.variation:.1%}", str(latency.count))
    console.print(rows)
    for name, each in zip(_names(answer.engines), answer.engines, strict=True):
        console.print(
            f"  {plain(name)}: {each.per_second:.1f} inferences/s, loaded in {ms(each.load_ms)} ms, {size(each.bytes)}"
        )
    if answer.ratio is not None:
        console.print(f"  {plain(ratio_line(answer.ratio))}")
    console.print(f"  [dim]{plain(_method(answer))}[/]")
    for note in answer.notes:
        console.print(f"  [yellow]note[/] {plain(note)}")


def ratio_line(ratio: Ratio) -> str:
    """Return the second's time over the first's, in words."""
    return (
        f"second / first: {ratio.p50:.3f} at p50, {ratio.mean:.3f} by mean; {ratio.rounds} rounds in turn: "
        f"{ratio.round_low:.3f} – {ratio.round_median:.3f} – {ratio.round_high:.3f} (least, middle, most)"
    )


def _names(engines: tuple[EngineBench, ...]) -> list[str]:
    """Name engines by model and precision, and by their path too where that is the same."""
    names = [f"{each.model} {each.precision}" for each in engines]
    if len(set(names)) == len(names):
        return names
    return [f"{name} ({Path(each.path).name})" for name, each in zip(names, engines, strict=True)]


def _method(answer: BenchAnswer) -> str:
    method, before, after = answer.method, answer.conditions.get("before", {}), answer.conditions.get("after", {})
    length = f"{method['iterations']} inferences" if method["iterations"] else f"{method['seconds']:g} s"
    on = {True: "on", False: "off"}
    words = [
        f"{length} each after {method['warm_up_seconds']:g} s of warm-up, on {method['input']}",
        (
            f"CUDA graph {on[method['cuda_graph']]}, spin-wait {on[method['spin_wait']]}, transfers "
            f"{on[method['transfers']]}"
        ),
    ]
    if method["threads"]:
        words.append(f"{method['threads']} CPU thread{'s' if method['threads'] > 1 else ''}")
    for name, title, unit in (
        ("power_mode", "power mode", ""), ("gpu_mhz", "GPU", " MHz"), ("gpu_celsius", "GPU", " °C"),
        ("cpu_governor", "CPU governor", ""), ("load_average", "load", ""),
    ):  # fmt: skip
        if before.get(name) is not None:
            change = f" → {after[name]}" if after.get(name) not in (None, before[name]) else ""
            words.append(f"{title} {before[name]}{change}{unit}")
    return "; ".join(words)
