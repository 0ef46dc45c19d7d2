"""From a model of the manifest to the job that a builder gets: one engine for one profile at one precision."""

from __future__ import annotations

from dataclasses import replace

from fleet.manifest.load import LoadedManifest
from fleet.manifest.schema.manifest_schema import Model, ModelInput, ModelOutput, Profile
from fleet.manifest.schema.model_schema import AccuracyGate as ManifestGate
from fleet.resolve.desired import EngineSpec, Recipe
from fleet.resolve.documents.data_digest import calibration_digest, golden_digest
from fleet.resolve.documents.engine_key import engine_key
from fleet.resolve.documents.model_front import constants, observations, state
from runtime.contract.engine.build import (
    TOP_LEFT,
    AccuracyGate,
    BuildJob,
    BuildOptions,
    DeviceFacts,
    Int8Options,
    Preprocess,
    TensorSpec,
)
from runtime.contract.engine.decoded import OutputDecoder
from runtime.contract.engine.task_metric import MAP50, MetricGate
from runtime.contract.node.box_options import BOX_DECODERS

BOXES = "boxes"
CHANNELS = {"rgb": 3, "bgr": 3, "gray": 1}


def engine_spec(
    loaded: LoadedManifest,
    profile: Profile,
    model: Model,
    precision: str,
    builder: Recipe,
    *,
    dla_core: int | None = None,
) -> EngineSpec:
    """Return the engine with its key. Raises OSError when a data file vanished since the manifest was loaded."""
    folder = loaded.model_files[model.name].parent
    golden = folder / model.golden.data
    int8 = model.precisions.int8 if precision == "int8" else None
    calibration = folder / int8.calibration if int8 and int8.calibration else None
    job = _job(profile, model, precision, dla_core)
    key = engine_key(
        job,
        calibration_digest=calibration_digest(calibration) if calibration else None,
        golden_digest=golden_digest(golden),
        builder_recipe_digest=builder.digest,
    )
    return EngineSpec(
        key=key,
        model=model.name,
        precision=precision,
        profile=profile,
        job=replace(job, key=key),
        source=model.source,
        source_path=folder / model.source.path if model.source.path else None,
        calibration=calibration,
        golden=golden,
        builder_recipe=builder,
    )


def _job(profile: Profile, model: Model, precision: str, dla_core: int | None) -> BuildJob:
    gates = model.gates
    latency = gates.latency_p99.get(profile.name)
    accuracy = next((gate for name, gate in gates.accuracy.items() if name == precision), None)
    return BuildJob(
        key="",
        model=model.name,
        backend=profile.backend,
        precision=precision,
        onnx_sha256=model.source.sha256,
        external=dict(sorted(model.source.data.items())),
        inputs=tuple(_input(value) for value in model.fed),
        outputs=_outputs(model),
        options=replace(_options(model, precision, profile.backend), dla_core=dla_core),
        device=device_facts(profile),
        accuracy=_accuracy(accuracy),
        enforce_accuracy=gates.waive_build_accuracy is None,
        max_latency_p99_ms=None if latency is None else latency * 1000.0,
        deadline_s=profile.builder.timeout,
        metric=_metric(model, precision),
        decoders=tuple(_decoder(value) for value in model.outputs),
        golden_expect=model.golden.expect or "",
        constants=constants(model),
        state=state(model),
        observations=observations(model),
    )


def _decoder(value: ModelOutput) -> OutputDecoder:
    """Return a decoder as builders run it. Names of classes change no engine: how many there are stays."""
    options = dict(value.decoder.options)
    if options.get("labels"):
        options["classes"] = len(options["labels"])
    options.pop("labels", None)
    if value.decoder.name not in BOX_DECODERS:
        options.pop("classes", None)
    return OutputDecoder(value.output_name, value.decoder.name, options, dict(value.tensors))


def _accuracy(gate: ManifestGate | None) -> AccuracyGate:
    if gate is None:
        return AccuracyGate()
    return AccuracyGate(gate.min_cosine, gate.max_abs_error, gate.max_relative_error, gate.min_decoded)


def _metric(model: Model, precision: str) -> MetricGate | None:
    metric = model.gates.metric
    if metric is None:
        return None
    limit = next((value for name, value in metric.limits.items() if name == precision), None)
    gate = MetricGate(metric.name, metric.output, limit, metric.threshold)
    if metric.name != MAP50:
        return gate
    # Boxes are measured as the robot decodes them; names of classes change nothing of that.
    read = [value for value in model.outputs if metric.output in value.sources]
    decoder = _decoder(next((value for value in read if value.decoder.name in BOX_DECODERS), read[0]))
    name = decoder.name if decoder.name != BOXES else ""
    return replace(gate, decoder=decoder.options, decoder_name=name, tensors=decoder.tensors)


def device_facts(profile: Profile) -> DeviceFacts:
    """Return what a profile claims of its devices."""
    return DeviceFacts(
        platform=profile.platform,
        module=profile.module,
        l4t=profile.l4t,
        sm_count=profile.sm_count,
        cuda=profile.cuda,
        tensorrt=profile.tensorrt,
    )


def _input(value: ModelInput) -> TensorSpec:
    if not value.is_image:
        span = value.shape_range
        low, high = (span.min, span.max) if span is not None else ((), ())
        return TensorSpec(name=value.tensor, shape=value.shape, dtype=value.dtype, min_shape=low, max_shape=high)
    wanted = value.preprocess
    channels = CHANNELS[wanted.color]
    preprocess = Preprocess(
        height=value.height or 0,
        width=value.width or 0,
        encoding=value.encoding,
        color=wanted.color,
        resize=wanted.resize,
        scale=wanted.scale,
        mean=wanted.mean[:channels],
        std=wanted.std[:channels],
        rotate=wanted.rotate,
        flip=wanted.flip or "",
        place=TOP_LEFT if wanted.place == TOP_LEFT else "",
        pad=wanted.pad * channels if len(wanted.pad) == 1 else wanted.pad,
        layout="" if wanted.layout == "nchw" else wanted.layout,
    )
    return TensorSpec(name=value.tensor, shape=value.image_shape, preprocess=preprocess)


def _outputs(model: Model) -> tuple[TensorSpec, ...]:
    """Return every tensor that some decoder reads, once, in the order of the outputs."""
    names = dict.fromkeys(name for value in model.outputs for name in value.sources)
    return tuple(TensorSpec(name=name, shape=()) for name in names)


def _options(model: Model, precision: str, backend: str) -> BuildOptions:
    int8, fp16 = model.precisions.int8, model.precisions.fp16
    if precision == "int8" and int8 is not None:
        options = BuildOptions(int8=Int8Options(int8.method, int8.exclude_ops, int8.exclude_nodes))
        level = int8.optimization_level
    elif precision == "fp16":
        options = BuildOptions(keep_fp32_ops=fp16.keep_fp32_ops, keep_fp32_nodes=fp16.keep_fp32_nodes)
        level = fp16.optimization_level
    else:
        return BuildOptions()
    # A level that a backend does not have must not be another engine there.
    return replace(options, optimization_level=level) if backend == "tensorrt" else options
