"""From what a search proposes to the manifest's keys, and back: what is proposed is what `fleet build` then builds."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from fleet.errors import UsageError
from fleet.manifest.load import LoadedManifest
from fleet.manifest.schema.manifest_schema import Model, Profile
from fleet.resolve.desired import EngineSpec, Recipe
from fleet.resolve.documents.build_job import engine_spec
from runtime.contract.engine.build import DEFAULT_INT8_METHOD
from runtime.contract.engine.tuning import BENCH_SECONDS, DEFAULT_LEVEL, MOST_SECONDS, Mix, TuneJob


def tune_specs(loaded: LoadedManifest, profile: Profile, model: Model, builder: Recipe) -> dict[str, EngineSpec]:
    """Return the engines that the manifest makes of the model today, one a precision; int8 where it is declared."""
    precisions = ["fp32", "fp16", *(["int8"] if model.precisions.int8 is not None else [])]
    return {name: engine_spec(loaded, profile, model, name, builder) for name in precisions}


def tune_job(
    specs: dict[str, EngineSpec],
    seconds: float = MOST_SECONDS,
    levels: tuple[int, ...] = (),
    bench_seconds: float = BENCH_SECONDS,
) -> TuneJob:
    """Return what a search is asked. Its jobs carry no keys: what is found decides those."""
    jobs = {name: replace(spec.job, key="") for name, spec in specs.items()}
    return TuneJob(jobs, seconds, levels, bench_seconds)


def keys_of(mix: Mix) -> tuple[tuple[str, ...], dict[str, Any]]:
    """Return where in the model's file a mix stands, and its keys; None for those that must not be there."""
    options = mix.options
    level = None if options.optimization_level == DEFAULT_LEVEL else options.optimization_level
    if mix.precision == "fp16":
        ops, nodes = options.keep_fp32_ops, options.keep_fp32_nodes
        return ("precisions", "fp16"), {
            "keep_fp32_ops": _listed(ops), "keep_fp32_nodes": _listed(nodes), "optimization_level": level
        }  # fmt: skip
    if mix.precision == "int8" and options.int8 is not None:
        int8 = options.int8
        method = None if int8.method == DEFAULT_INT8_METHOD else int8.method
        return ("precisions", "int8"), {
            "method": method,
            "exclude_ops": _listed(int8.exclude_ops),
            "exclude_nodes": _listed(int8.exclude_nodes),
            "optimization_level": level,
        }
    return (), {}


def _listed(names: tuple[str, ...]) -> list[str] | None:
    return list(names) or None


def proposed_spec(loaded: LoadedManifest, profile: Profile, model: Model, mix: Mix, builder: Recipe) -> EngineSpec:
    """Return the engine that the manifest makes with the mix's keys in it.

    Raises UsageError when that would be another engine than the one that was tried: the manifest cannot say it.
    """
    path, keys = keys_of(mix)
    changed = model
    if path:
        field = getattr(model.precisions, path[1])
        values = {
            **field.model_dump(exclude_unset=True),
            **{k: tuple(v) if isinstance(v, list) else v for k, v in keys.items()},
        }
        values = {name: value for name, value in values.items() if value is not None}
        precisions = model.precisions.model_copy(update={path[1]: type(field).model_validate(values)})
        changed = model.model_copy(update={"precisions": precisions})
    spec = engine_spec(loaded, profile, changed, mix.precision, builder)
    if spec.job.options != replace(mix.options, workspace_bytes=0, dla_core=None):
        raise UsageError(
            f"the manifest cannot say what was found: {spec.job.options} is not {mix.options}",
            hint="give --level 3, the only one where the precision has no optimization_level",
        )
    return spec
