"""What a manifest asks builders for, as their attestations must say it."""

from __future__ import annotations

from fleet.resolve.desired import EngineSpec, Recipe
from fleet.signing.provenance import BASE_IMAGE, ENGINE, Build


def engine_build(spec: EngineSpec) -> Build:
    """Return the build of an engine. Its key stands for all that went in; model and builder are named next to it."""
    return Build(
        kind=ENGINE,
        name=f"engines:{spec.tag}",
        profile=spec.profile.name,
        parameters={
            "key": spec.key,
            "model": spec.model,
            "precision": spec.precision,
            "backend": spec.job.backend,
            "platform": spec.profile.platform,
        },
        materials={
            f"onnx:{spec.model}": f"sha256:{spec.job.onnx_sha256}",
            f"recipe:{spec.builder_recipe.kind}": spec.builder_recipe.digest,
        },
    )


def base_build(recipe: Recipe) -> Build:
    """Return the build of a base image. Its recipe stands for all that this checkout puts in."""
    return Build(
        kind=BASE_IMAGE,
        name=f"bases:{recipe.tag}",
        profile=recipe.profile.name,
        parameters={
            "tag": recipe.tag,
            "kind": recipe.kind,
            "platform": recipe.profile.platform,
            "base_image": recipe.profile.base_image,
        },
        materials={f"recipe:{recipe.kind}": recipe.digest},
    )
