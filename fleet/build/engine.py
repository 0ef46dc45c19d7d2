"""Engines: one builder container for each missing key, side by side, bounded per builder."""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import ExitStack, suppress
from pathlib import Path

from fleet.build.builder_jobs import LABEL_RUN, discard, remove_dead
from fleet.build.events import BUILT, ELSEWHERE, FAILED, IMAGE, LOG, SOURCE, STARTED, BuildEvent, OnEvent
from fleet.build.image import ensure_base
from fleet.build.job import BuildRun, BuiltEngine, run_builder
from fleet.build.summary import BuildSummary, FailedEngine
from fleet.build.timing import TimingCaches
from fleet.errors import FleetError
from fleet.manifest.schema.manifest_schema import Profile
from fleet.parallel import LOOK_S
from fleet.ports import ContainerHost, LogLine
from fleet.resolve.desired import EngineSpec, Recipe

HostOf = Callable[[Profile], ContainerHost]
FetchSource = Callable[[EngineSpec], Path]
ImageOf = Callable[[ContainerHost, Recipe, LogLine], str]

_STOP_S = 30.0
_STOP_POLL_S = 0.5


def local_image(host: ContainerHost, recipe: Recipe, on_log: LogLine) -> str:
    """Return the name of the builder image on ``host``, built there when it is missing."""
    return ensure_base(host, recipe, on_log=on_log).local


def build_engines(
    specs: Sequence[EngineSpec],
    *,
    host_of: HostOf,
    fetch_source: FetchSource,
    work_dir: Path,
    on_built: Callable[[BuiltEngine], None] = lambda _: None,
    on_event: OnEvent = lambda _: None,
    image_of: ImageOf = local_image,
    timing: TimingCaches | None = None,
    fleet: str = "",
    is_there: Callable[[EngineSpec], bool] = lambda _: False,
) -> BuildSummary:
    """Build all ``specs``; one that fails does not stop the others. Look at ``BuildSummary.error()`` afterwards.

    Containers of ``fleet`` that are on a builder already, running or with their result in them, are gone on with,
    whoever started them; those that nobody will go on with are removed. Where one vanished, ``is_there`` is asked
    whether the registry has the engine by now.

    ``on_built`` is called on this thread for every engine as soon as it is there (to push it), so that nothing that
    was built is lost to a later failure. ``on_event`` is called from several threads, never two at a time. ``timing``
    is where builders' timing caches are kept. An interruption stops and removes all containers that this run started,
    then goes on its way.
    """
    run = BuildRun(fleet, uuid.uuid4().hex, threading.Event(), is_there)
    return _Run(run, host_of, fetch_source, work_dir, on_built, on_event, image_of, timing).build(specs)


class _Run:
    """One call of :func:`build_engines`."""

    def __init__(
        self,
        run: BuildRun,
        host_of: HostOf,
        fetch_source: FetchSource,
        work_dir: Path,
        on_built: Callable[[BuiltEngine], None],
        on_event: OnEvent,
        image_of: ImageOf,
        timing: TimingCaches | None,
    ) -> None:  # fmt: skip
        self._host_of, self._fetch_source, self._image_of, self._timing = host_of, fetch_source, image_of, timing
        self._work_dir, self._on_built, self._on_event = work_dir, on_built, on_event
        self._run = run
        self._event_lock = threading.Lock()
        self._images: dict[tuple[str, str], str | FleetError] = {}
        self._built: list[BuiltEngine] = []
        self._failed: list[FailedEngine] = []
        self._elsewhere: list[EngineSpec] = []

    def build(self, specs: Sequence[EngineSpec]) -> BuildSummary:
        # Images and sources on this thread, so that Ctrl-C cuts them off at once; builders on threads of their own.
        ready = [(spec, *prepared) for spec in specs if (prepared := self._prepare(spec)) is not None]
        self._remove_dead([spec for spec, _, _ in ready])
        with ExitStack() as stack:
            pools = {
                endpoint: stack.enter_context(ThreadPoolExecutor(workers, thread_name_prefix="builder"))
                for endpoint, workers in _workers([spec for spec, _, _ in ready]).items()
            }
            futures = {
                pools[spec.profile.builder.endpoint].submit(self._work, spec, image, model): spec
                for spec, image, model in ready
            }
            try:
                self._collect(futures)
            except BaseException:
                self._stop(futures)
                raise
        return BuildSummary(tuple(self._built), tuple(self._failed), tuple(self._elsewhere))

    # ── this thread ──────────────────────────────────────────────────────────────────────────────────────────────

    def _prepare(self, spec: EngineSpec) -> tuple[str, Path] | None:
        try:
            image = self._image(spec)
            self._emit(BuildEvent(SOURCE, spec))
            return image, self._fetch_source(spec)
        except FleetError as error:
            self._fail(spec, error)
            return None

    def _image(self, spec: EngineSpec) -> str:
        """Return the builder image; one that could not be built is not tried again for the next engine."""
        host, recipe = self._host_of(spec.profile), spec.builder_recipe
        place = (host.endpoint, recipe.digest)
        if place not in self._images:
            self._emit(BuildEvent(IMAGE, spec))
            try:
                self._images[place] = self._image_of(host, recipe, self._logger(spec))
            except FleetError as error:
                self._images[place] = error
        image = self._images[place]
        if isinstance(image, FleetError):
            raise image
        return image

    def _remove_dead(self, specs: Sequence[EngineSpec]) -> None:
        """Remove what dead runs left on the builders; one where that fails now says so and is built on nevertheless."""
        wanted = {spec.key for spec in specs}
        for endpoint, spec in {spec.profile.builder.endpoint: spec for spec in specs}.items():
            try:
                removed = remove_dead(self._host_of(spec.profile), self._run.fleet, wanted)
            except FleetError as error:
                self._logger(spec)(f"leftovers on {endpoint} were not removed: {error}")
                continue
            if removed:
                self._logger(spec)(f"removed {removed} container(s) of dead runs from {endpoint}")

    def _collect(self, futures: Mapping[Future[BuiltEngine | None], EngineSpec]) -> None:
        pending = set(futures)
        while pending:
            done, pending = wait(pending, timeout=LOOK_S, return_when=FIRST_COMPLETED)
            for future in done:
                self._take(futures[future], future)

    def _take(self, spec: EngineSpec, future: Future[BuiltEngine | None]) -> None:
        try:
            engine = future.result()
            if engine is None:
                self._elsewhere.append(spec)
                self._emit(BuildEvent(ELSEWHERE, spec))
                return
            self._on_built(engine)
        except FleetError as error:
            self._fail(spec, error)
        else:
            self._built.append(engine)
            self._emit(BuildEvent(BUILT, spec, seconds=engine.seconds))
            discard(self._host_of(spec.profile), engine.container)

    def _fail(self, spec: EngineSpec, error: FleetError) -> None:
        self._failed.append(FailedEngine(spec, error))
        self._emit(BuildEvent(FAILED, spec, line=error.message.split("\n", 1)[0], error=error))

    def _stop(self, futures: Mapping[Future[BuiltEngine | None], EngineSpec]) -> None:
        """Remove this run's containers until no thread is left that could have started one."""
        self._run.stopped.set()
        for future in futures:
            future.cancel()
        hosts = {host.endpoint: host for host in (self._host_of(spec.profile) for spec in futures.values())}
        pending, ends = set(futures), time.monotonic() + _STOP_S
        while pending and time.monotonic() < ends:
            for host in hosts.values():
                self._remove_containers(host)
            _, pending = wait(pending, timeout=_STOP_POLL_S)

    def _remove_containers(self, host: ContainerHost) -> None:
        # What is left where the Engine is gone carries its key's label: the next build of that key goes on with it.
        with suppress(FleetError):
            host.remove_containers({LABEL_RUN: self._run.id})

    # ── a builder's thread ───────────────────────────────────────────────────────────────────────────────────────

    def _work(self, spec: EngineSpec, image: str, model: Path) -> BuiltEngine | None:
        host = self._host_of(spec.profile)
        self._emit(BuildEvent(STARTED, spec))
        return run_builder(
            spec, host, image, model, self._work_dir / spec.tag[:16],
            run=self._run, on_log=self._logger(spec), timing=self._timing,
        )  # fmt: skip

    def _logger(self, spec: EngineSpec) -> LogLine:
        return lambda line: self._emit(BuildEvent(LOG, spec, line=line))

    def _emit(self, event: BuildEvent) -> None:
        with self._event_lock:
            self._on_event(event)


def _workers(specs: Sequence[EngineSpec]) -> dict[str, int]:
    """Return builder containers at a time by endpoint; profiles that share one are held to the smallest bound."""
    workers: dict[str, int] = {}
    for spec in specs:
        builder = spec.profile.builder
        workers[builder.endpoint] = min(workers.get(builder.endpoint, builder.parallel), builder.parallel)
    return workers
