"""`fleet engine run`: what an engine answers to a picture, to frames of a file, or to its golden frames."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from fleet.cli import options
from fleet.cli.commands.engine.shared import Engine, Seed, Shape, Threads, absolute, asked, ms, on_frames
from fleet.cli.ui.console import conclude, plain, table
from fleet.errors import EngineGateError
from runtime.contract.codec import to_dict
from runtime.contract.engine.accuracy_gate import described
from runtime.contract.engine.engine_facts import OutputStatistics, RunAnswer
from runtime.contract.engine.engine_tool import RUN, RunRequest


def run(
    engine: Engine,
    input_: Annotated[
        Path | None,
        typer.Argument(metavar="[INPUT]", help="An .npz, an image or a folder of them. Default: the golden frames."),
    ] = None,
    expect: Annotated[
        Path | None, typer.Option("--expect", help="An .npz of expected outputs, as --save writes them.")
    ] = None,
    save: Annotated[Path | None, typer.Option("--save", help="Write the outputs to this .npz, frames first.")] = None,
    top: Annotated[int, typer.Option("--top", min=0, max=1000, help="Largest values to show of each output.")] = 5,
    min_cosine: Annotated[
        float | None,
        typer.Option("--min-cosine", min=0, max=1, help="Default: the engine's self-test. Less is exit 4."),
    ] = None,
    threads: Threads = 1,
    shape: Shape = None,
    seed: Seed = 0,
    as_json: options.Json = False,
) -> None:
    """Run frames and show what comes out; hold it against expected outputs where there are any."""
    request = RunRequest(
        engine=str(engine.absolute()), expect=absolute(expect), save=absolute(save), top=top, min_cosine=min_cosine
    )
    answer = asked(RUN, on_frames(request, input_, threads, shape, seed), RunAnswer)
    error = None
    if answer.violation is not None:
        error = EngineGateError(
            f"{answer.model} {answer.precision}: {answer.violation}, against {answer.expected_from}",
            hint="the engine's outputs are not as expected: is it the right model, built on this kind of device?",
        )
    conclude(as_json, to_dict(answer), lambda console: _render(console, answer, save), error)


def _render(console: Console, answer: RunAnswer, save: Path | None) -> None:
    console.print(f"[bold]{plain(f'{answer.model} {answer.precision}')}[/] on {plain(answer.input)}")
    rows = table("output", "shape", "min", "max", "mean", "std", "largest values, first frame")
    for each in answer.outputs:
        shape = f"{each.dtype} {'x'.join(map(str, each.shape))}"
        numbers = [_number(value) for value in (each.min, each.max, each.mean, each.std)]
        rows.add_row(plain(each.name), shape, *numbers, plain(_top(each)))
    console.print(rows)
    for each in answer.outputs:
        if each.not_finite:
            console.print(f"  [red]{each.not_finite} values of {plain(each.name)} are not finite[/]")
    console.print(f"  {', '.join(ms(value) for value in answer.milliseconds[:10])} ms a frame")
    for item in answer.accuracy:
        words = f"{described(item)} against {answer.expected_from}"
        console.print(f"  {plain(f'{item.output}: {words}')}")
    if answer.accuracy and answer.gate is not None and answer.violation is None:
        console.print(f"  [green]as expected[/] (cosine >= {answer.gate.min_cosine:g})")
    if not answer.accuracy:
        console.print("  [dim]nothing to compare with: give expected outputs in the .npz, or with --expect[/]")
    if save is not None:
        console.print(f"  saved: {plain(str(save))}")


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.5g}"


def _top(output: OutputStatistics) -> str:
    return "  ".join(f"{value.value:.5g} at {list(value.index)}" for value in output.top)
