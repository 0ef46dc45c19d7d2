"""Another engine for a model while the node runs: put its folder where the node looks, and it is tried on.

``<swap folder>/<model>/`` holds what a builder leaves: engine, ``engine.json``, ``golden.npz``. Copy it next to under
another name and rename it: a folder that is not whole is refused. Taking it away brings the release's engine back.
What was put in lasts until the executor ends: after a restart the image's engines serve.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from runtime.contract.engine.build import IDENTITY_FILE, EngineIdentity, TensorSpec
from runtime.engines.errors import EngineError
from runtime.engines.store import read_identity
from runtime.executor.serving.candidates import SWAPPED, Candidate, configured
from runtime.executor.serving.changer import Change, EngineChanger
from runtime.executor.serving.loading import engine_folder, load_engine_at
from runtime.executor.serving.pipeline import Pipeline
from runtime.executor.serving.signed import Signed, check_key, checking_bytes


class SwapRefusedError(ValueError):
    """An engine cannot be put in. The message says why, and what to do."""


Signature = tuple[int, int, int]


@dataclass
class _Watched:
    pipeline: Pipeline
    seen: Signature | None


class SwapFolder:
    """Looks for folders that were put in or taken away, and begins the changes they ask for."""

    def __init__(
        self,
        root: Path,
        engines_dir: Path,
        pipelines: Iterable[Pipeline],
        changer: EngineChanger,
        say: Callable[[str], None],
        signed: Signed = lambda: None,
    ) -> None:
        """What lies in ``root`` already is left alone: it was put in for an executor before this one. ``signed``: the
        engines that may be put in."""
        self._root, self._engines_dir, self._changer, self._say = root, engines_dir, changer, say
        self._signed = signed
        self._watched = [_Watched(pipeline, _signature(root / pipeline.model.name)) for pipeline in pipelines]

    def poll(self) -> None:
        """Look once. A stat a model; engines are loaded elsewhere."""
        for watched in self._watched:
            found = _signature(self._root / watched.pipeline.model.name)
            if found != watched.seen:
                watched.seen = found
                self.begin(watched.pipeline)

    def begin(self, pipeline: Pipeline) -> Change | None:
        """Begin to serve ``pipeline`` with the engine in its folder, or with the release's where there is none.

        Returns None when it is refused or there is nothing to do; the pipeline's ``swap_note`` says which.
        """
        try:
            change = self._change(pipeline)
        except (SwapRefusedError, EngineError) as error:
            pipeline.slot.swap_note = f"refused: {error}"
            change = None
        self._say(f"{pipeline.model.name}: {pipeline.slot.swap_note}")
        return None if change is None else self._changer.begin(change)

    def _change(self, pipeline: Pipeline) -> Change | None:
        if not pipeline.slot.open:
            raise SwapRefusedError("no engine is loaded: configure the node first")
        if pipeline.slot.engine is None and not pipeline.active:
            raise SwapRefusedError("the model failed before it served a frame: correct its release instead")
        folder = self._root / pipeline.model.name
        if (folder / IDENTITY_FILE).is_file():
            wanted = check_key(read_identity(folder), self._signed())
            candidate = swapped(pipeline, folder, self._engines_dir)
            pipeline.slot.swap_note = f"loading {candidate.model.precision} engine {candidate.model.engine_key[7:19]}"
            return Change(pipeline, candidate, keep_old=True, loader=checking_bytes(wanted, load_engine_at))
        if pipeline.slot.source == SWAPPED:
            pipeline.slot.swap_note = "going back to the release's engine"
            return Change(pipeline, configured(pipeline.model, self._engines_dir), keep_old=True)
        pipeline.slot.swap_note = f"nothing to do: no engine in {folder}, and none that was put in serves"
        return None


def swapped(pipeline: Pipeline, folder: Path, engines_dir: Path) -> Candidate:
    """Return the engine in ``folder`` as a candidate for ``pipeline``. Raises SwapRefusedError, EngineError."""
    identity, model = read_identity(folder), pipeline.model
    if identity.model != model.name:
        raise SwapRefusedError(f"{folder} holds an engine of model {identity.model!r}, not of {model.name!r}")
    serving = pipeline.slot.engine
    if (
        serving is not None
        and pipeline.slot.source == SWAPPED
        and serving.identity.engine_sha256 == identity.engine_sha256
    ):
        raise SwapRefusedError(f"this engine ({identity.key[7:19]}) serves already")
    release = read_identity(engine_folder(engines_dir, model))
    check_same_tensors(identity, release)
    _check_same_state(identity, release)
    as_loaded = replace(model, precision=identity.precision, engine_key=identity.key, fallback=None)
    return Candidate(SWAPPED, as_loaded, folder, "put in while running")


def check_same_tensors(new: EngineIdentity, old: EngineIdentity) -> None:
    """Raise SwapRefusedError when an engine's inputs or outputs are not those of the engine it would replace."""
    for what, ours, theirs in (("input", new.inputs, old.inputs), ("output", new.outputs, old.outputs)):
        has, wants = {spec.name: spec for spec in ours}, {spec.name: spec for spec in theirs}
        if sorted(has) != sorted(wants):
            raise SwapRefusedError(
                f"its {what}s are {_names(has)}, the release's engine has {_names(wants)}: only an engine with the "
                f"same {what}s can be put in; publish a release for another model"
            )
        for name, spec in has.items():
            if _form(spec) != _form(wants[name]):
                raise SwapRefusedError(
                    f"its {what} {name!r} is {_form(spec)}, the release's engine has {_form(wants[name])}: publish a "
                    "release for a model with other shapes"
                )


def _check_same_state(new: EngineIdentity, old: EngineIdentity) -> None:
    ours, theirs = ({(spec.input, spec.kept) for spec in each.state} for each in (new, old))
    if ours != theirs:
        raise SwapRefusedError(
            f"it keeps {sorted(ours) or 'no state'}, the release's engine {sorted(theirs) or 'none'}: publish a "
            "release for a model with other state"
        )


def _signature(folder: Path) -> Signature | None:
    try:
        found = (folder / IDENTITY_FILE).stat()
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns, found.st_size


def _form(spec: TensorSpec) -> str:
    return f"{spec.dtype} {list(spec.shape)}"


def _names(specs: Iterable[str]) -> str:
    return ", ".join(sorted(specs))
