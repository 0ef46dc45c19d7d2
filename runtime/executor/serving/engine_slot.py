"""Which engine serves a model: the configured one, its fallback, or one that was put in and is on trial."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

from runtime.contract.node.health import SelfTest
from runtime.contract.node.runtime_config import ModelRuntime
from runtime.decoding.decoders import OptionError
from runtime.engines.errors import EngineError
from runtime.executor.serving.candidates import (
    CONFIGURED,
    SWAPPED,
    Candidate,
    Loader,
    Publish,
    SelfTestError,
    Serving,
    configured,
    fallback,
    prepare,
    tell_failed,
)
from runtime.executor.serving.heap import give_back
from runtime.executor.serving.loading import LoadedEngine, load_engine
from runtime.executor.serving.sequence import ACTIVATED, ENGINE
from runtime.executor.serving.stats import ModelStats

LOADING, INACTIVE, ACTIVE, FAILED = "loading", "inactive", "active", "failed"

MAX_CONSECUTIVE_FAILURES = 5
"""Inferences or decodings in a row that may fail before the model counts as failed."""

TRIAL_FRAMES = 30
"""Frames that an engine put in while running must answer before the one it replaced is freed."""


class EngineSlot:
    """A model's state and its engine: loaded, exchanged, put on trial, given up. A part that every pipeline has.

    All on the worker thread, unless a method says otherwise.
    """

    def __init__(self, model: ModelRuntime) -> None:
        self.model = model
        self.state = LOADING
        self.active = False
        """The node serves: an engine that takes a failed one's place begins at once."""
        self.stats = ModelStats([binding.tensor for binding in model.inputs])
        self.publishers: Mapping[str, Publish] = {}
        self.replace_engine: Callable[[Candidate], None] = _nobody_replaces
        """Asked, on the worker thread and without waiting, for another engine when the one that serves has failed."""
        self.open = False
        """Between load and close: engines may be put in."""
        self.swap_note = ""
        """How the last change of engine while running went, for a person."""
        self._engines_dir = Path()
        self.serving: Serving | None = None
        """The engine that serves; None while there is none, or after it failed."""
        self.previous: Serving | None = None
        """The engine before, kept while the one that serves is on trial."""
        self._trial_left = 0
        self.self_test: SelfTest | None = None
        self.reason = ""
        """Why it is not the configured engine that serves."""
        self._replacement_asked = False
        self._failures = 0
        """Frames in a row that the engine could not answer."""

    def load(self, engines_dir: Path, publishers: Mapping[str, Publish], loader: Loader = load_engine) -> None:
        """Load and test the engine; its declared fallback when that fails. Afterwards the state is inactive, or failed
        with a reason. Never raises for that.

        ``publishers`` maps an output's topic to what sends its results.
        """
        self.close()
        self.state, self.self_test, self.reason = LOADING, None, ""
        self._engines_dir, self.publishers, self.open = engines_dir, publishers, True
        candidate: Candidate | None = configured(self.model, engines_dir)
        while candidate is not None and (reason := self._load(candidate, loader)):
            candidate = self._instead_of(candidate, reason)
        give_back()

    def _load(self, candidate: Candidate, loader: Loader) -> str:
        """Load one engine; return why it cannot serve, or nothing."""
        before = f"{candidate.reason}; then {candidate.model.name} {candidate.model.precision}: "
        try:
            self.install(prepare(self.model, candidate, self.publishers, loader, self.stats.state_reset))
        except (EngineError, OptionError) as error:
            if isinstance(error, SelfTestError):
                self.self_test = error.result
            self.refuse((before if candidate.reason else "") + str(error))
            return str(error)
        self.state = INACTIVE
        return ""

    def install(self, serving: Serving, *, keep_old: bool = False) -> None:
        """Serve with another engine from the next frame on. With ``keep_old`` the one before stays loaded until this
        one has answered ``TRIAL_FRAMES`` frames, and comes back when one of them fails."""
        self._free_old()
        if self.serving is not None:
            self.serving.sequence.restart(ENGINE, "another engine serves")
        if keep_old:
            self.previous = self.serving
        else:
            self._free_serving()
        self._use(serving)
        self._trial_left = TRIAL_FRAMES if keep_old else 0
        self._replacement_asked = False

    def _use(self, serving: Serving) -> None:
        self.serving = serving
        self.self_test, self.reason = serving.engine.self_test, serving.candidate.reason
        self._failures = 0
        if self.state == FAILED:
            self.state = ACTIVE if self.active else INACTIVE

    def _free_old(self) -> None:
        if self.previous is not None:
            self.previous.close()
            self.previous = None
            give_back()

    def _free_serving(self) -> None:
        if self.serving is not None:
            self.serving.close()
            self.serving = None
            give_back()

    def close(self) -> None:
        """Free the engine, if there is one; none is put in any more."""
        self.open = self._replacement_asked = False
        self.drop_engine()

    def drop_engine(self) -> None:
        """Free the engine; another one may be put in."""
        self._free_old()
        self._free_serving()
        if self.state == ACTIVE:
            self.state = INACTIVE

    def succeeded(self) -> None:
        """The engine answered a frame: an engine on trial has one less to go."""
        self._failures = 0
        if self.state == FAILED:
            self.state = ACTIVE
        if self._trial_left:
            self._trial_left -= 1
            if not self._trial_left:
                self._free_old()

    def failed(self, reason: str) -> None:
        """The engine did not answer a frame; after too many of them another is asked for."""
        self._failures += 1
        self.stats.refused(reason)
        tell_failed(self.publishers.values(), reason)
        if self._failures < MAX_CONSECUTIVE_FAILURES or self.serving is None:
            return
        self.state = FAILED
        wanted = self._instead_of(self.serving.candidate, f"{self._failures} inferences in a row failed: {reason}")
        if wanted is not None and not self._replacement_asked:
            self._replacement_asked = True
            self.replace_engine(wanted)

    def go_back(self, reason: str) -> None:
        """Take the engine before again: the one on trial failed."""
        failed, self.serving, self.previous = self.serving, self.previous, None
        self._trial_left = 0
        assert failed is not None
        assert self.serving is not None
        failed.sequence.restart(ENGINE, "the engine before serves again")
        failed.close()
        self._use(self.serving)
        self.swap_note = f"went back to {self.serving.candidate.source}: the engine put in failed on a frame: {reason}"
        del failed
        give_back()

    def replacement_failed(self, candidate: Candidate, reason: str) -> None:
        """What was asked for in place of a failed engine cannot serve either: the next one is, or the model stays
        failed with all reasons."""
        self._replacement_asked = False
        before = self.reason
        following = self._instead_of(candidate, reason)
        self.reason = f"{before}; then {candidate.model.name} {candidate.model.precision}: {reason}"
        self.stats.last_error = self.reason
        if following is not None:
            self._replacement_asked = True
            self.replace_engine(replace(following, reason=self.reason))

    def _instead_of(self, candidate: Candidate, reason: str) -> Candidate | None:
        """What is tried after ``candidate`` failed: an engine that was put in gives way to the configured one, which
        gives way to its fallback."""
        self.reason = f"{candidate.model.name} {candidate.model.precision}: {reason}"
        if candidate.source == SWAPPED:
            return replace(configured(self.model, self._engines_dir), reason=self.reason)
        return fallback(self.model, self._engines_dir, self.reason) if candidate.source == CONFIGURED else None

    def refuse(self, reason: str) -> None:
        """Do not serve, although the engine is fine: what it would need, or publish, is not there."""
        self.state = FAILED
        self.stats.last_error = reason

    @property
    def engine(self) -> LoadedEngine | None:
        """The engine that serves."""
        serving = self.serving
        return None if serving is None else serving.engine

    @property
    def source(self) -> str:
        """Whose engine is loaded: configured, fallback, swapped, or nothing."""
        serving = self.serving
        return "" if serving is None else serving.candidate.source

    def begin(self) -> None:
        """Serve with the engine that is loaded; failures of an earlier life are forgotten, and what it kept."""
        self._failures = 0
        if self.serving is not None:
            self.serving.sequence.restart(ACTIVATED, "the node was inactive")
        self.state = ACTIVE

    def who_serves(self, serving: Serving | None) -> str:
        """Return the report's word for what answers frames: the engine's source, or what happens after a failure."""
        if self.state == FAILED or serving is None:
            return self.model.on_failure if self.state == FAILED else ""
        return serving.candidate.source


def _nobody_replaces(candidate: Candidate) -> None:
    """A pipeline outside of a node has nobody who loads engines for it."""
    del candidate
