"""`fleet engine tune`: the fastest mix of precisions that passes a model's gates, and the manifest's lines for it."""

from __future__ import annotations

import hashlib
import shutil
import tempfile
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from fleet.build.image import ensure_base
from fleet.build.tune import tune_on_builder
from fleet.cache_folder import cache_dir
from fleet.cli import options
from fleet.cli.commands.engine.job import link_data, model_named, profile_here
from fleet.cli.commands.engine.shared import asked as ask_tool
from fleet.cli.commands.engine.shared import counted, fact, ms
from fleet.cli.ui.activity import activity
from fleet.cli.ui.console import conclude, plain, table
from fleet.cli.wiring import Wiring
from fleet.errors import EngineGateError, FleetError, UsageError
from fleet.manifest.load import load_manifest
from fleet.manifest.schema.manifest_schema import Profile
from fleet.manifest.yaml.edit import lines_for, set_keys
from fleet.resolve.desired import EngineSpec
from fleet.resolve.documents.tuned import keys_of, proposed_spec, tune_job, tune_specs
from fleet.resolve.images.recipe import recipe_for
from runtime.contract.codec import canonical_json, to_dict
from runtime.contract.engine.engine_tool import TUNE, TuneRequest
from runtime.contract.engine.tuning import (
    BENCH_SECONDS,
    MOST_SECONDS,
    PASSED,
    STATE_FILE,
    TUNE_FILE,
    Mix,
    TuneAnswer,
    TuneJob,
    TuneTrial,
    described,
)


def run(
    model: Annotated[str, typer.Argument(help="A model of the manifest, by its name.")],
    manifest: options.ManifestOption = options.DEFAULT_MANIFEST,
    profile: Annotated[
        str | None, typer.Option("--profile", help="Of the manifest. Default: its only one for this platform.")
    ] = None,
    seconds: Annotated[
        float, typer.Option("--seconds", min=1, max=86400, help="Of all runs of this search together.")
    ] = MOST_SECONDS,
    measure: Annotated[
        float, typer.Option("--measure", min=0.01, max=60, help="Seconds that each engine is measured.")
    ] = BENCH_SECONDS,
    level: Annotated[
        list[int] | None,
        typer.Option("--level", min=0, max=5, help="TensorRT: the first for the search, others for what it finds."),
    ] = None,
    on_builder: Annotated[
        bool, typer.Option("--on-builder", help="Search in a container on the profile's builder, not here.")
    ] = False,
    apply: Annotated[
        bool, typer.Option("--apply", help="Write the lines into the model's file; comments stay.")
    ] = False,
    fresh: Annotated[bool, typer.Option("--fresh", help="Forget what earlier runs of this search have tried.")] = False,
    as_json: options.Json = False,
) -> None:
    """Find the fastest mix of precisions that passes the model's gates; every mix is built and judged afresh."""
    if model.endswith(".onnx"):
        raise UsageError(
            f"{model} is a file: gates and lines are those of a manifest's model",
            hint="make one with fleet init --model, or build the file with fleet engine build --exclude-node",
        )
    wiring = Wiring(manifest)
    loaded = wiring.loaded
    chosen, declared = profile_here(loaded, profile), model_named(loaded, model)
    recipe = recipe_for("builder", chosen)
    specs = tune_specs(loaded, chosen, declared, recipe)
    question = tune_job(specs, seconds, tuple(level or ()), measure)
    state = state_folder(question, on_builder=on_builder)
    if fresh:
        shutil.rmtree(state, ignore_errors=True)
    search = _on_builder if on_builder else _here
    answer = search(wiring, specs, question, state, chosen)
    document: dict[str, Any] = {"state": str(state), **to_dict(answer)}
    document["proposal"] = None
    error: FleetError | None = _nothing(answer)
    if answer.proposal is not None:
        spec = proposed_spec(loaded, chosen, declared, answer.proposal, recipe)
        path, keys = keys_of(answer.proposal)
        lines = lines_for(path, keys) if any(value is not None for value in keys.values()) else ""
        there = declared.precisions.model_dump(exclude_unset=True).get(path[1] if path else "") or {}
        document["proposal"] = {
            "precision": answer.proposal.precision, "what": described(answer.proposal), "key": spec.key, "lines": lines,
            "remove": [f"{'.'.join(path)}.{name}" for name, value in keys.items() if value is None and name in there],
            "applied": False,
        }  # fmt: skip
        if apply:
            document["proposal"]["applied"] = apply_keys(
                loaded.model_files[model], manifest, (model, chosen.name), answer.proposal, spec
            )
    file = loaded.model_files[model]
    conclude(as_json, document, lambda console: _render(console, answer, document["proposal"], file), error)


def state_folder(question: TuneJob, *, on_builder: bool) -> Path:
    """Return the folder of one search on this machine: the same for any time limit."""
    content = to_dict(question)
    content.pop("seconds")
    digest = hashlib.sha256(canonical_json([content, on_builder])).hexdigest()
    return cache_dir() / "tune" / digest[:24]


def _here(
    wiring: Wiring, specs: dict[str, EngineSpec], question: TuneJob, state: Path, _profile: Profile
) -> TuneAnswer:
    spec = specs.get("int8", specs["fp32"])
    source = wiring.sources.fetch(spec)
    with tempfile.TemporaryDirectory(prefix="jetfleet-tune-") as name:
        folder = Path(name)
        (folder / TUNE_FILE).write_bytes(canonical_json(question))
        link_data(spec, source, folder)
        return ask_tool(TUNE, TuneRequest(str(folder), str(state.absolute())), TuneAnswer)


def _on_builder(
    wiring: Wiring, specs: dict[str, EngineSpec], question: TuneJob, state: Path, profile: Profile
) -> TuneAnswer:
    spec = specs.get("int8", specs["fp32"])
    source, host = wiring.sources.fetch(spec), wiring.host_of(profile)
    with activity() as shown, tempfile.TemporaryDirectory(prefix="jetfleet-tune-") as name:

        def say(line: str) -> None:
            shown.update("engine", line[:160])

        image = ensure_base(host, spec.builder_recipe, on_log=say).local
        return tune_on_builder(
            question, spec, host, image, source, Path(name), state / STATE_FILE,
            fleet=wiring.loaded.manifest.fleet, on_log=say,
        )  # fmt: skip


def apply_keys(file: Path, manifest: Path, which: tuple[str, str], mix: Mix, spec: EngineSpec) -> bool:
    """Write a mix's keys into the model's file; return whether that changed it.

    The manifest is read again afterwards: when it does not make the engine that was tried, the file is put back. Raises
    UsageError, ManifestError, FleetError.
    """
    model, profile = which
    path, keys = keys_of(mix)
    before = file.read_bytes()
    after = set_keys(before, path, keys) if path else before
    if after == before:
        return False
    _replace(file, after)
    try:
        loaded = load_manifest(manifest)
        chosen = loaded.profiles[profile]
        found = tune_specs(loaded, chosen, loaded.models[model], recipe_for("builder", chosen))[mix.precision]
        if found.key != spec.key:
            raise FleetError(f"{file} would make the engine {found.key}, not {spec.key}, which was tried")
    except BaseException:
        _replace(file, before)
        raise
    return True


def _replace(file: Path, content: bytes) -> None:
    temporary = file.with_name(f".{file.name}.tmp")
    temporary.write_bytes(content)
    shutil.copymode(file, temporary)
    temporary.replace(file)


def _nothing(answer: TuneAnswer) -> FleetError | None:
    if answer.proposal is not None:
        return None
    if not answer.complete:
        return EngineGateError(
            f"{answer.model}: nothing passed its gates within the time; {len(answer.state.trials)} mixes were tried",
            hint="run it again with more --seconds: it goes on",
        )
    return EngineGateError(
        f"{answer.model}: none of {len(answer.state.trials)} mixes passes its gates",
        hint="look at what refused them in the table: the gates, the golden data, or more calibration frames",
    )


def _render(console: Console, answer: TuneAnswer, proposal: dict[str, Any] | None, file: Path) -> None:
    rows = table("mix", "verdict", "cosine", "relative error", "decoded", "p50", "p99", "main layers", "s")
    for trial in answer.state.trials:
        rows.add_row(*_cells(trial))
    console.print(rows)
    for each in answer.state.ranked:
        console.print(f"  {plain(each.line)}: {plain(each.said)}")
    if answer.state.in_turn:
        console.print("  the fastest, measured in turn:")
        for item in answer.state.in_turn:
            console.print(
                f"    {plain(described(item.mix))}: p50 {ms(item.p50)}, p99 {ms(item.p99)} ms over {item.count}"
            )
    gone_on = f", {answer.gone_on_with} trials from earlier runs" if answer.gone_on_with else ""
    console.print(f"  {answer.state.spent_s:.0f} s in {answer.state.runs} runs{gone_on}")
    for note in answer.notes:
        console.print(f"  [yellow]note[/] {plain(note)}")
    if proposal is not None:
        _render_proposal(console, proposal, file)


def _render_proposal(console: Console, proposal: dict[str, Any], file: Path) -> None:
    console.print(f"[bold]{plain(proposal['what'])}[/] is the fastest that passes; key {fact(proposal['key'])}")
    if proposal["applied"]:
        console.print(f"  written into {plain(str(file))}")
    elif proposal["lines"] or proposal["remove"]:
        console.print(f"  in {plain(str(file))} (--apply writes it; other keys of that precision stay as they are):")
    else:
        console.print(f"  {plain(str(file))} needs no options for it")
    for line in proposal["lines"].splitlines():
        console.print(f"  {plain(line)}")
    for name in proposal["remove"]:
        console.print(f"  without {plain(name)}")
    console.print(f"  robots and groups take it with precision: {proposal['precision']}")


def _cells(trial: TuneTrial) -> list[str]:
    worst = min((item.min_cosine for item in trial.accuracy), default=None)
    errors = [item.relative_error for item in trial.accuracy if item.relative_error is not None]
    agreement = [item.agreement for item in trial.decoded if item.agreement is not None]
    verdict = "[green]passed[/]" if trial.verdict == PASSED else f"[red]{trial.verdict}[/]: {plain(trial.why)}"
    return [
        plain(described(trial.mix)),
        verdict,
        "" if worst is None else f"{worst:.5f}",
        f"{max(errors):.3g}" if errors else "",
        f"{min(agreement):.3f}" if agreement else "",
        ms(trial.latency.p50 if trial.latency else None),
        ms(trial.latency.p99 if trial.latency else None),
        counted(trial.main_precisions),
        f"{trial.seconds:.0f}",
    ]
