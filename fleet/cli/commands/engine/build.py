"""`fleet engine build`: an engine for the machine at hand, of a model of the manifest or of an ONNX file."""

from __future__ import annotations

from dataclasses import replace
from enum import Enum
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from fleet.cli import options
from fleet.cli.commands.engine.job import build_from_manifest, place
from fleet.cli.commands.engine.shared import (
    Constant,
    Seconds,
    Seed,
    Shape,
    State,
    absolute,
    asked,
    constants,
    percentiles,
    quality_rows,
    shapes,
    states,
)
from fleet.cli.ui.console import Stopwatch, emit, fact_table, plain, short, size
from fleet.errors import UsageError
from runtime.contract.codec import to_dict
from runtime.contract.engine.build import DEFAULT_INT8_METHOD, BuildOptions, EngineReport, Int8Options
from runtime.contract.engine.engine_tool import BUILD, BuildRequest

_BARE_ONLY = "the manifest says that of its models: leave the option out, or give the ONNX file itself"


class Precision(str, Enum):
    """What an engine computes in."""

    FP32 = "fp32"
    FP16 = "fp16"
    INT8 = "int8"


class Method(str, Enum):
    """How int8 ranges are taken from calibration data."""

    ENTROPY = "entropy"
    PERCENTILE = "percentile"
    MINMAX = "minmax"
    CALIBRATOR = "calibrator"


_DEFAULT_METHOD = Method(DEFAULT_INT8_METHOD)


class Backend(str, Enum):
    """What builds and runs engines."""

    TENSORRT = "tensorrt"
    ONNXRUNTIME = "onnxruntime"


def run(
    model: Annotated[str, typer.Argument(help="A model of the manifest by its name, or an .onnx file.")],
    precision: Annotated[Precision, typer.Option("--precision")] = Precision.FP32,
    out: Annotated[Path | None, typer.Option("--out", help="Folder. Default: engines/MODEL.PRECISION")] = None,
    manifest: options.ManifestOption = options.DEFAULT_MANIFEST,
    profile: Annotated[
        str | None, typer.Option("--profile", help="Of the manifest. Default: its only one for this platform.")
    ] = None,
    no_gates: Annotated[
        bool, typer.Option("--no-gates", help="Report accuracy and latency gates, but do not fail on them.")
    ] = False,
    timing_cache: Annotated[
        Path | None, typer.Option("--timing-cache", help="TensorRT: a file that is read if it exists, then written.")
    ] = None,
    seconds: Seconds = 3.0,
    backend: Annotated[
        Backend | None, typer.Option("--backend", help="ONNX file: default is TensorRT where it is installed.")
    ] = None,
    shape: Shape = None,
    state: State = None,
    constant: Constant = None,
    calibration: Annotated[
        Path | None, typer.Option("--calibration", help="ONNX file, int8: an .npz of frames, or a folder of them.")
    ] = None,
    golden: Annotated[
        Path | None, typer.Option("--golden", help="ONNX file: .npz of frames, and answers if you have them.")
    ] = None,
    seed: Seed = 0,
    min_cosine: Annotated[
        float | None, typer.Option("--min-cosine", min=0, max=1, help="ONNX file: least cosine to fp32. Else exit 4.")
    ] = None,
    max_p99: Annotated[
        float | None, typer.Option("--max-p99", min=0, help="ONNX file: largest p99, milliseconds. Else exit 4.")
    ] = None,
    method: Annotated[Method, typer.Option("--int8-method", help="ONNX file.")] = _DEFAULT_METHOD,
    exclude_op: Annotated[
        list[str] | None, typer.Option("--exclude-op", help="ONNX file, int8: operator left in float. Repeatable.")
    ] = None,
    exclude_node: Annotated[
        list[str] | None, typer.Option("--exclude-node", help="ONNX file, int8: node left in float. Repeatable.")
    ] = None,
    keep_fp32_op: Annotated[
        list[str] | None, typer.Option("--keep-fp32-op", help="ONNX file, fp16: operator kept at fp32. Repeatable.")
    ] = None,
    workspace: Annotated[
        int, typer.Option("--workspace", min=0, help="ONNX file, TensorRT: MiB of workspace. Default: a quarter.")
    ] = 0,
    level: Annotated[
        int, typer.Option("--level", min=0, max=5, help="ONNX file, TensorRT: builder optimization level.")
    ] = 3,
    dla_core: Annotated[
        int | None, typer.Option("--dla-core", min=0, max=1, help="TensorRT, on modules that have one.")
    ] = None,
    allow_mixed: Annotated[
        bool, typer.Option("--allow-mixed", help="ONNX file: take an engine that mostly runs at another precision.")
    ] = False,
    as_json: options.Json = False,
) -> None:
    """Build one engine here, with the code of `fleet build`: same transform, same key, same report, same gates."""
    watch = Stopwatch()
    is_file = model.endswith(".onnx") or Path(model).is_file()
    name = Path(model).stem if is_file else model
    target = out if out is not None else Path("engines") / f"{name}.{precision.value}"
    bare = {
        "--backend": backend, "--shape": shape, "--state": state, "--constant": constant,
        "--calibration": calibration, "--golden": golden,
        "--min-cosine": min_cosine, "--max-p99": max_p99, "--exclude-op": exclude_op, "--exclude-node": exclude_node,
        "--keep-fp32-op": keep_fp32_op, "--workspace": workspace or None,
        "--allow-mixed": allow_mixed or None,
    }  # fmt: skip
    if not is_file:
        _refuse(bare, f"{model} is a model of the manifest", _BARE_ONLY)
        with place(target) as folder:
            report = build_from_manifest(
                manifest,
                model,
                precision.value,
                profile,
                folder,
                seconds,
                timing_cache,
                dla_core=dla_core,
                no_gates=no_gates,
            )
    else:
        _refuse({"--profile": profile, "--no-gates": no_gates or None}, f"{model} is a file", "leave the option out")
        int8 = Int8Options(method.value, tuple(exclude_op or ()), tuple(exclude_node or ()))
        request = BuildRequest(
            model=str(Path(model).absolute()),
            name=name,
            precision=precision.value,
            out="",
            options=BuildOptions(
                int8=int8 if precision is Precision.INT8 else None,
                keep_fp32_ops=tuple(keep_fp32_op or ()),
                workspace_bytes=workspace << 20,
                optimization_level=level,
                dla_core=dla_core,
                allow_mixed_precision=allow_mixed,
            ),
            backend=backend.value if backend else "",
            shapes=shapes(shape),
            state=states(state),
            constants=constants(constant),
            calibration=absolute(calibration),
            golden=absolute(golden),
            seed=seed,
            min_cosine=min_cosine,
            max_latency_p99_ms=max_p99,
            bench_seconds=seconds,
            timing_cache=absolute(timing_cache),
        )
        _check_file(request)
        with place(target) as folder:
            report = asked(BUILD, replace(request, out=str(folder.absolute())), EngineReport)
    document = {"out": str(target), **to_dict(report), "seconds": round(watch.seconds, 1)}
    emit(as_json, document, lambda console: _render(console, target, report, watch))


def _refuse(given: dict[str, Any], why: str, hint: str) -> None:
    wrong = [name for name, value in given.items() if value is not None]
    if wrong:
        raise UsageError(f"{why}: {wrong[0]} does not apply there", hint=hint)


def _check_file(request: BuildRequest) -> None:
    """Refuse what is plainly wrong before a process is started."""
    if not Path(request.model).is_file():
        raise UsageError(f"there is no {request.model}", hint="give an .onnx file, or a model of the manifest by name")
    if request.precision == "int8" and request.calibration is None:
        raise UsageError(
            "int8 needs calibration data: without it there are no ranges",
            hint="give frames with --calibration: an .npz file with an array under each input's name, frames first",
        )


def _render(console: Console, target: Path, report: EngineReport, watch: Stopwatch) -> None:
    identity = report.identity
    console.print(f"[bold]{plain(identity.model)} {identity.precision}[/], {identity.backend}: {plain(str(target))}")
    rows = fact_table()
    rows.add_row("key", short(identity.key))
    rows.add_row("size", f"{size(identity.engine_bytes)} (source: {size(report.source_bytes)})")
    for title, words in quality_rows(report):
        rows.add_row(title, words)
    rows.add_row("host latency", percentiles(report.latency))
    gpu = report.extra.get("gpu_latency")
    if gpu:
        parts = (("in", "h2d_ms"), ("kernels", "compute_ms"), ("out", "d2h_ms"))
        rows.add_row("on the GPU", ", ".join(f"{word} {gpu[name]['p50']:.3f}" for word, name in parts) + " ms (p50)")
    rows.add_row("built in", f"{report.build_seconds:.1f} s, measured in {report.total_seconds:.1f} s with it; {watch}")
    rows.add_row("with", plain(", ".join(f"{name} {version}" for name, version in report.versions.items())))
    console.print(rows)
    for note in report.notes:
        console.print(f"  [yellow]note[/] {plain(note)}")
