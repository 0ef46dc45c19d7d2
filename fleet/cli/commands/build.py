"""`fleet build`: the engines that the registry lacks, one builder container each, pushed as soon as it is done."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from fleet.build.engine import build_engines
from fleet.build.events import BUILT, ELSEWHERE, FAILED, IMAGE, LOG, SOURCE, STARTED, BuildEvent
from fleet.build.image import ensure_base
from fleet.build.job import BuiltEngine
from fleet.build.summary import BuildSummary
from fleet.cli import options
from fleet.cli.base_image import publish_base
from fleet.cli.provenance import attests_engine, builders_of, engine_is_proven, unproven_lines
from fleet.cli.ui.activity import Activity, activity
from fleet.cli.ui.console import Stopwatch, conclude, many, notice, remarks, short, size, table
from fleet.cli.wiring import Wiring
from fleet.errors import EngineGateError, FleetError
from fleet.ports import ContainerHost, LogLine
from fleet.publish.artifact import push_engine
from fleet.publish.lookup import look_up
from fleet.publish.timing import TimingStore
from fleet.resolve.desired import EngineSpec, Recipe
from fleet.resolve.inventory import select
from runtime.contract.codec import to_dict


def run(
    manifest: options.ManifestOption = options.DEFAULT_MANIFEST,
    robots: options.Robots = None,
    as_json: options.Json = False,
    send_base: Annotated[
        bool,
        typer.Option("--send-base", help="Send builders what their images start from, out of this machine's Engine."),
    ] = False,
) -> None:
    """Build the engines that the registry lacks, for the whole manifest or for some of its robots."""
    wiring = Wiring(manifest)
    watch = Stopwatch()
    chosen = {robot.variant for robot in select(wiring.desired, robots)}
    wanted = {engine.key for name in chosen for engine in wiring.desired.variants[name].all_engines}
    with activity() as shown:
        shown.update("registry", f"asking {wiring.desired.registry.host}")
        facts = look_up(wiring.registry, wiring.desired, builders_of(wiring))
        missing = [wiring.desired.engines[key] for key in facts.missing_engines() if key in wanted]
        images = [wiring.desired.variants[name].runtime_recipe for name in sorted(chosen)]
        unproven = {recipe.tag: recipe for recipe in images if recipe.tag in facts.unproven}
        notice(f"{line}: it is built again" for line in unproven_lines(wiring.desired, facts))
        summary = build_missing(wiring, missing, shown, send_base=send_base)
        for recipe in unproven.values():
            publish_base(wiring, recipe, shown)
    present = len(wanted) - len(missing) + len(summary.elsewhere)
    document = _document(summary, present=present, seconds=watch.seconds)
    document["unproven"] = dict(facts.unproven)
    conclude(as_json, document, lambda console: _render(console, document, watch), summary.error())


def build_missing(
    wiring: Wiring, specs: Sequence[EngineSpec], shown: Activity, *, send_base: bool = False
) -> BuildSummary:
    """Build engines and push each under its key. Raises RegistryError when one can't be pushed."""
    if not specs:
        return BuildSummary((), ())
    # Minutes of building are not to end in a registry that refuses us, or lacks the repository.
    wiring.registry.ping()
    wiring.registry.check_push(f"{wiring.desired.registry.prefix}/engines")
    builders = builders_of(wiring)
    if builders is not None:
        builders.key()  # nor in a key that counts for nothing
    repository = f"{wiring.desired.registry.prefix}/engines"

    def image_of(host: ContainerHost, recipe: Recipe, on_log: LogLine) -> str:
        starts_of = wiring.local_host if send_base and host is not wiring.local_host else None
        return ensure_base(host, recipe, on_log=on_log, starts_of=starts_of).local

    def push(built: BuiltEngine) -> None:
        push_engine(
            wiring.registry,
            repository,
            built.spec.key,
            built.folder,
            report=built.report,
            proven=engine_is_proven(wiring, built.spec),
            attest=attests_engine(wiring, built.spec, built.seconds),
        )

    with tempfile.TemporaryDirectory(prefix="jetfleet-build-") as work:
        return build_engines(
            specs,
            host_of=wiring.host_of,
            fetch_source=wiring.sources.fetch,
            work_dir=Path(work),
            on_built=push,
            on_event=lambda event: _show(shown, event),
            image_of=image_of,
            timing=TimingStore(wiring.registry, f"{wiring.desired.registry.prefix}/timing"),
            fleet=wiring.desired.fleet,
            is_there=lambda spec: engine_is_there(wiring, spec),
        )


def engine_is_there(wiring: Wiring, spec: EngineSpec) -> bool:
    """Say whether the registry has an engine by now, and, in a signed fleet, one that is attested."""
    facts = look_up(wiring.registry, wiring.desired, builders_of(wiring))
    return spec.key not in facts.missing_engines()


def _show(shown: Activity, event: BuildEvent) -> None:
    spec = event.spec
    name = f"{spec.model} {spec.precision} for {spec.profile.name}"
    if event.kind == BUILT:
        shown.done(spec.key, f"{name}: built and pushed as {short(spec.key)}, {event.seconds:.1f} s")
    elif event.kind == ELSEWHERE:
        shown.done(spec.key, f"{name}: another operator built and pushed it meanwhile as {short(spec.key)}")
    elif event.kind == FAILED:
        shown.done(spec.key, f"{name}: {event.line}")
    else:
        words = {IMAGE: "builder image", SOURCE: "model file", STARTED: "builder starts", LOG: event.line[:100]}
        shown.update(spec.key, f"{name}: {words.get(event.kind, event.kind)}")


def engine_document(built: BuiltEngine) -> dict[str, Any]:
    """Return one engine's report in short, as JSON values."""
    report = built.report
    return {
        "model": built.spec.model,
        "precision": built.spec.precision,
        "profile": built.spec.profile.name,
        "key": built.spec.key,
        "bytes": report.identity.engine_bytes,
        "layer_precisions": report.layer_precisions,
        "main_layers": report.extra.get("main_layer_precisions", report.layer_precisions),
        "min_cosine": min((accuracy.min_cosine for accuracy in report.accuracy), default=None),
        "metric": to_dict(report.metric) if report.metric else None,
        "latency_ms": {"p50": report.latency.p50, "p90": report.latency.p90, "p99": report.latency.p99},
        "seconds": round(built.seconds, 1),
        "notes": [*report.notes, *built.notes],
    }


def _document(summary: BuildSummary, *, present: int, seconds: float) -> dict[str, Any]:
    return {
        "built": [engine_document(built) for built in summary.built],
        "failed": [
            {
                "model": failed.spec.model,
                "precision": failed.spec.precision,
                "key": failed.spec.key,
                "error": str(failed.error),
                "sensitivity": _sensitivity(failed.error),
            }
            for failed in summary.failed
        ],
        "present": present,
        "seconds": round(seconds, 1),
    }


def _sensitivity(error: FleetError) -> Any:
    return to_dict(error.sensitivity) if isinstance(error, EngineGateError) and error.sensitivity else None


def _metric(measured: dict[str, Any] | None) -> str:
    return f"{measured['name']} {measured['to_fp32']:.4g}" if measured else ""


def _render(console: Console, document: dict[str, Any], watch: Stopwatch) -> None:
    if document["built"]:
        metric = ["metric to fp32"] if any(each["metric"] for each in document["built"]) else []
        rows = table("engine", "profile", "key", "cosine to fp32", *metric, "p50", "p99", "size", "main layers")
        for each in document["built"]:
            layers = ", ".join(f"{count} {precision}" for precision, count in each["main_layers"].items())
            rows.add_row(
                f"{each['model']} {each['precision']}",
                each["profile"],
                short(each["key"]),
                "not measured" if each["min_cosine"] is None else f"{each['min_cosine']:.5f}",
                *([_metric(each["metric"])] if metric else []),
                f"{each['latency_ms']['p50']:.1f} ms",
                f"{each['latency_ms']['p99']:.1f} ms",
                size(each["bytes"]),
                layers,
            )
        console.print(rows)
        remarks(
            console, {f"{each['model']} {each['precision']}": "; ".join(each["notes"]) for each in document["built"]}
        )
    console.print(
        f"{many(len(document['built']), 'engine')} built, {document['present']} in the registry already, "
        f"{len(document['failed'])} failed, {watch}"
    )
