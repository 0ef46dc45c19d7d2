"""Timing caches in a registry: one suite for the fake that unit tests use and for a real one."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fleet.errors import RegistryError
from fleet.oci.image_spec import parse_manifest
from fleet.ports import Registry
from fleet.publish.timing import MOST_PARTS, TimingStore, timing_tag
from runtime.contract.engine.build import DeviceFacts
from runtime.contract.engine.timing import MAX_TIMING_BYTES, TimingFacts, timing_file
from tests.contract.registry.test_registry import push_artifact, real_host, registry, repository

__all__ = ["real_host", "registry", "repository"]

NANO = DeviceFacts("linux/arm64", "p3767-0003", "36.4.3", 8, "12.6", "10.3.0.30")
AT_15W = TimingFacts("10.3.0.30", "p3767-0003", 8, "15W")
AT_MAXN = TimingFacts("10.3.0.30", "p3767-0003", 8, "MAXN_SUPER")


class Interposed:
    """A registry at which somebody else acts at a chosen moment."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self.before: dict[str, Callable[[], None]] = {}

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._registry, name)
        if name not in self.before:
            return found

        def call(*arguments: Any, **options: Any) -> Any:
            act = self.before.pop(name, None)
            if act is not None:
                act()
            return found(*arguments, **options)

        return call


@pytest.fixture
def build(tmp_path: Path) -> Build:
    return Build(tmp_path)


class Build:
    """What one `fleet build` does with timing caches: TensorRT's part is to put lines of files together."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._count = 0

    def fetch(self, store: TimingStore, device: DeviceFacts = NANO) -> Path:
        self._count += 1
        folder = self._folder / f"given-{self._count}"
        folder.mkdir()
        self.notes = store.fetch(device, folder)
        return folder

    def grown(self, given: Path, measured: str, facts: TimingFacts = AT_15W) -> Path:
        lines = {measured.encode()}
        for path in given.glob(timing_file(facts, 0).replace(".0.", ".*.")):
            lines |= set(path.read_bytes().splitlines())
        cache = given.with_name(f"{given.name}.out")
        cache.write_bytes(b"\n".join(sorted(lines)))
        return cache


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def test_what_one_build_measured_the_next_one_has(registry: Registry, repository: str, build: Build) -> None:
    store = TimingStore(registry, repository)
    given = build.fetch(store)
    assert (contents(given), build.notes) == ({}, [])
    assert store.keep(AT_15W, given, build.grown(given, "a")) == []
    given = build.fetch(store)
    assert contents(given) == {timing_file(AT_15W, 0): b"a"}
    assert store.keep(AT_15W, given, build.grown(given, "b")) == []
    assert contents(build.fetch(store)) == {timing_file(AT_15W, 0): b"a\nb"}
    assert registry.tags(repository) == [timing_tag(AT_15W)]


def test_modes_lie_apart_and_a_builder_gets_those_of_its_device(
    registry: Registry, repository: str, build: Build
) -> None:
    store = TimingStore(registry, repository)
    empty = build.fetch(store)
    other = dataclasses.replace(AT_15W, sm_count=4), dataclasses.replace(AT_15W, module="p3767-0001")
    older = dataclasses.replace(AT_15W, tensorrt="10.3.0.26")
    for facts in (AT_15W, AT_MAXN, *other, older):
        assert store.keep(facts, empty, build.grown(empty, f"of {facts}", facts)) == []
    expected = {timing_file(facts, 0): f"of {facts}".encode() for facts in (AT_15W, AT_MAXN)}
    assert contents(build.fetch(store)) == expected
    three_parts = dataclasses.replace(NANO, tensorrt="10.3.0")
    assert len(contents(build.fetch(store, three_parts))) == 3


def test_two_builders_at_once_lose_nothing(registry: Registry, repository: str, build: Build) -> None:
    store, elsewhere = TimingStore(registry, repository), TimingStore(registry, repository)
    start = build.fetch(store)
    store.keep(AT_15W, start, build.grown(start, "start"))
    ours, theirs = build.fetch(store), build.fetch(elsewhere)
    assert elsewhere.keep(AT_15W, theirs, build.grown(theirs, "theirs")) == []
    notes = store.keep(AT_15W, ours, build.grown(ours, "ours"))
    assert notes == ["the timing cache was kept together with 1 of other builds; the next build merges them"]
    both = build.fetch(store)
    assert sorted(contents(both).values()) == [b"ours\nstart", b"start\ntheirs"]
    assert store.keep(AT_15W, both, build.grown(both, "third")) == []
    assert list(contents(build.fetch(store)).values()) == [b"ours\nstart\ntheirs\nthird"]


@pytest.mark.parametrize("moment", ["push_blob", "put_manifest"])
def test_a_tag_that_moves_between_reading_and_writing_is_read_again(
    registry: Registry, repository: str, build: Build, moment: str
) -> None:
    """Right before the write nobody can tell any more: theirs is lost then, which costs time and nothing else."""
    between = Interposed(registry)
    store, elsewhere = TimingStore(between, repository), TimingStore(registry, repository)
    given = build.fetch(store)
    mine, other = build.grown(given, "mine"), build.fetch(elsewhere)

    def act() -> None:
        elsewhere.keep(AT_15W, other, build.grown(other, "other"))

    between.before[moment] = act
    store.keep(AT_15W, given, mine)
    found = set(contents(build.fetch(store)).values())
    assert b"mine" in found
    if moment == "push_blob":
        assert found == {b"mine", b"other"}


def test_ours_that_somebody_put_theirs_over_is_put_again(registry: Registry, repository: str, build: Build) -> None:
    """The other one had looked before we wrote, and wrote after us: seen when we look once more."""
    store, elsewhere = TimingStore(registry, repository), TimingStore(registry, repository)
    given = build.fetch(store)
    watched = Interposed(registry)
    first = TimingStore(watched, repository)
    looks: list[int] = []

    def on_look() -> None:
        # The second look of `first` is the one after its put: by then the other's put has come.
        looks.append(1)
        watched.before["head_manifest"] = theirs

    def theirs() -> None:
        tag = timing_tag(AT_15W)
        digest = registry.head_manifest(repository, tag)
        assert digest is not None
        registry.delete_manifest(repository, digest)
        elsewhere.keep(AT_15W, given, build.grown(given, "theirs"))

    watched.before["head_manifest"] = on_look
    assert first.keep(AT_15W, given, build.grown(given, "ours")) != []
    assert looks == [1]
    assert set(contents(build.fetch(store)).values()) == {b"ours", b"theirs"}


def test_parts_that_nobody_merges_are_bounded_and_the_oldest_goes(
    registry: Registry, repository: str, build: Build
) -> None:
    store = TimingStore(registry, repository)
    empty = build.fetch(store)
    for number in range(MOST_PARTS):
        store.keep(AT_15W, empty, build.grown(empty, str(number)))
    notes = store.keep(AT_15W, empty, build.grown(empty, "last"))
    assert notes[1] == f"1 older timing caches were dropped: at most {MOST_PARTS} wait to be merged"
    found = list(contents(build.fetch(store)).values())
    assert found == [*(str(number).encode() for number in range(1, MOST_PARTS)), b"last"]


def test_a_build_that_measured_nothing_new_moves_no_tag(registry: Registry, repository: str, build: Build) -> None:
    store = TimingStore(registry, repository)
    given = build.fetch(store)
    store.keep(AT_15W, given, build.grown(given, "a"))
    before = registry.head_manifest(repository, timing_tag(AT_15W))
    again = build.fetch(store)
    assert store.keep(AT_15W, again, build.grown(again, "a")) == []
    assert registry.head_manifest(repository, timing_tag(AT_15W)) == before


def test_what_was_replaced_is_not_left_behind(registry: Registry, repository: str, build: Build) -> None:
    store = TimingStore(registry, repository)
    given = build.fetch(store)
    store.keep(AT_15W, given, build.grown(given, "a"))
    first = registry.head_manifest(repository, timing_tag(AT_15W))
    assert first is not None
    given = build.fetch(store)
    store.keep(AT_15W, given, build.grown(given, "b"))
    assert registry.head_manifest(repository, first) is None


def test_too_large_is_not_kept_and_says_what_to_do(registry: Registry, repository: str, tmp_path: Path) -> None:
    cache = tmp_path / "timing.cache"
    with cache.open("wb") as file:
        file.truncate(MAX_TIMING_BYTES + 1)
    (note,) = TimingStore(registry, repository).keep(AT_15W, tmp_path, cache)
    assert "was not kept" in note
    assert f"delete {registry.host}/{repository}:{timing_tag(AT_15W)} to start over" in note
    assert registry.tags(repository) == []


def test_something_else_under_the_tag_is_a_note_and_gets_replaced(
    registry: Registry, repository: str, build: Build
) -> None:
    push_artifact(registry, repository, timing_tag(AT_15W), os.urandom(8))
    store = TimingStore(registry, repository)
    given = build.fetch(store)
    (note,) = build.notes
    assert "was not fetched, so this build takes longer" in note
    store.keep(AT_15W, given, build.grown(given, "a"))
    found = registry.get_manifest(repository, timing_tag(AT_15W))
    assert found is not None
    assert len(parse_manifest(found, "here").layers) == 1
    assert list(contents(build.fetch(store)).values()) == [b"a"]


def test_a_registry_that_fails_gives_notes_and_never_an_error(
    registry: Registry, repository: str, build: Build
) -> None:
    between = Interposed(registry)
    store = TimingStore(between, repository)

    def fail() -> None:
        raise RegistryError("registry.test is not reachable", hint="start it")

    between.before["tags"] = fail
    given = build.fetch(store)
    assert build.notes == ["timing caches were not fetched, so this build takes longer: registry.test is not reachable"]
    for moment in ("get_manifest", "push_blob", "head_manifest", "put_manifest"):
        between.before = {moment: fail}
        assert store.keep(AT_15W, given, build.grown(given, moment)) == [
            "the timing cache was not kept, so the next build measures again: registry.test is not reachable"
        ]
    between.before = {}
    store.keep(AT_15W, given, build.grown(given, "a"))
    between.before = {"fetch_blob": fail}
    assert contents(build.fetch(store)) == {}
    assert len(build.notes) == 1
