"""The content address of an engine: equal keys mean the same engine, anything that changes an engine changes its key.

A pure function of the manifest's files and this checkout, so that asking "is it built?" needs neither Docker nor the
device. What goes in (canonical JSON, then sha256):

====================  ==============================================================================================
``key_version``       format of this document
``model``             the name: engines lie in a folder of that name inside the layer
``onnx_sha256``       the model's file
``external``          files beside it that hold weights, each with its sha256
``transform``         version of the graph transform, and inputs and outputs as declared: preprocessing is in the graph
``precision``         fp32, fp16, int8
``calibration``       digest of the samples, int8 only
``golden``            digest of the golden data, which is in the layer next to the engine
``self_test``         what the robot's self-test asks for: it is in the layer too
``decoders``          outputs' decoders and their options, without names of classes: the report says what they find
``golden_expect``     whether the golden frames show nothing
``constants``         inputs whose value is in the engine
``state``             what is kept from frame to frame, and what a sequence begins with
``observations``      inputs that are composed in the engine
``metric``            the task metric and its limit, where one is declared: the report must hold it
``options``           builder options: excluded operators, workspace, optimisation level …
``backend``           tensorrt or onnxruntime
``device``            platform, module part number, L4T, SM count, CUDA and TensorRT version
``builder_recipe``    digest of how the builder image is made: library versions and our own engine code are in it
====================  ==============================================================================================

Not in it: what only judges an engine after it was built (latency gate, ``enforce_accuracy``, benchmark time), or
bounds it (deadline). Whoever
takes an engine out of the registry judges its report by the gates of today.
"""

from __future__ import annotations

from typing import Any

from runtime.contract.codec import digest_of, to_dict
from runtime.contract.engine.build import TRANSFORM_VERSION, BuildJob, TensorSpec

KEY_VERSION = 1


def engine_key(job: BuildJob, *, calibration_digest: str | None, golden_digest: str, builder_recipe_digest: str) -> str:
    """Return ``sha256:<hex>`` for a job, whose own ``key`` is not looked at.

    ``calibration_digest`` is None unless the precision is int8. All digests are ``sha256:<hex>``.
    """
    document = {
        "key_version": KEY_VERSION,
        "model": job.model,
        "onnx_sha256": job.onnx_sha256,
        "external": job.external,
        "transform": {
            "version": TRANSFORM_VERSION,
            "inputs": [_tensor(spec) for spec in job.inputs],
            "outputs": [_tensor(spec) for spec in job.outputs],
        },
        "precision": job.precision,
        "calibration": calibration_digest,
        "golden": golden_digest,
        "self_test": _without_unset(to_dict(job.accuracy), "max_relative_error", "min_decoded"),
        "options": _without_unset(to_dict(job.options), "keep_fp32_nodes"),
        "backend": job.backend,
        "device": to_dict(job.device),
        "builder_recipe": builder_recipe_digest,
        "metric": _without_unset(to_dict(job.metric), "decoder", "decoder_name", "tensors") if job.metric else None,
        "decoders": [_without_unset(to_dict(decoder), "tensors") for decoder in job.decoders],
        "golden_expect": job.golden_expect,
        "constants": [to_dict(spec) for spec in job.constants],
        "state": [to_dict(spec) for spec in job.state],
        "observations": [to_dict(spec) for spec in job.observations],
    }
    later = ("metric", "decoders", "golden_expect", "external", "constants", "state", "observations")
    return digest_of(_without_unset(document, *later))


def _tensor(spec: TensorSpec) -> dict[str, Any]:
    """Return a tensor as the key reads it. A range that is not there is not in it: such keys are older than ranges."""
    unset = {"min_shape", "max_shape"} if not (spec.min_shape or spec.max_shape) else set()
    found = {name: value for name, value in to_dict(spec).items() if name not in unset}
    if spec.preprocess is not None:
        found["preprocess"] = _without_unset(found["preprocess"], "rotate", "flip", "place", "pad", "layout")
    return found


def _without_unset(document: dict[str, Any], *later: str) -> dict[str, Any]:
    """Omit fields that were added later while they are unset, so that older keys stay valid."""
    return {key: value for key, value in document.items() if value or key not in later}
