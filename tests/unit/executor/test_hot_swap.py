"""Changing an engine while the node runs: real ONNX engines, a real worker, and every refusal with its sentence."""

from __future__ import annotations

import shutil
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from runtime.contract.codec import canonical_json
from runtime.contract.engine.build import TensorSpec
from runtime.contract.node.runtime_config import FallbackEngine
from runtime.contract.node.signed_engines import SignedEngine, SignedEngines, signed_engines_file
from runtime.engines.layer_digest import layer_digest
from runtime.executor.inputs.frames import Stamp
from runtime.executor.serving.candidates import configured
from runtime.executor.serving.changer import Change, EngineChanger, any_thread
from runtime.executor.serving.hot_swap import SwapFolder
from runtime.executor.serving.memory import Memory, available_memory, needed
from runtime.executor.serving.pipeline import ACTIVE, MAX_CONSECUTIVE_FAILURES, Pending, Pipeline
from runtime.executor.serving.signed import read_signed, signed_by_environment
from runtime.executor.serving.worker import Worker
from tests.fakes.nodes.runtime_folder import HEIGHT, KEY, WIDTH, write_engine, write_runtime

NEW = "sha256:" + "cd" * 32
WAIT_S = 60.0


class Site:
    """One real model at work on a real worker, and a folder to put engines into."""

    def __init__(self, folder: Path, free: Callable[[], int | None] = available_memory) -> None:
        self.engines, self.swap = folder / "engines", folder / "swap"
        self.config = write_runtime(folder)
        self.swap.mkdir()
        self.worker = Worker()
        self.worker.start()
        self.results: list[Any] = []
        self.arrived = threading.Condition()
        self.pipeline = Pipeline(self.model(), self.worker.lock, lambda: 2_000_000_000)
        self.changer = EngineChanger(self.worker, any_thread, Memory(free))
        self.said: list[str] = []
        self.signed = folder / "signed-engines-a.json"
        self.folder = SwapFolder(
            self.swap, self.engines, [self.pipeline], self.changer, self.said.append, lambda: read_signed(self.signed)
        )

    def model(self) -> Any:
        return self.config.models[0]

    def start(self) -> Site:
        job = self.worker.submit(lambda: self.pipeline.slot.load(self.engines, {"~/signs/text": self._take}))
        assert job.done.wait(WAIT_S)
        self.pipeline.activate()
        self.worker.serve([self.pipeline])
        return self

    def _take(self, stamp: Stamp, result: Any) -> None:
        with self.arrived:
            self.results.append((stamp.frame_id, len(result.corners)))
            self.arrived.notify_all()

    def frame(self, name: str) -> None:
        """Offer a frame and wait for its answer."""
        pixels = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
        self.pipeline.offer("image", Pending(Stamp(1, 5, name), pixels), 0)
        with self.arrived:
            assert self.arrived.wait_for(lambda: any(found == name for found, _ in self.results), WAIT_S)

    def put_in(self, *, key: str = NEW, **changes: Any) -> Path:
        """Leave an engine whole in the swap folder, as a person would: written beside, then renamed."""
        beside = self.swap / "new" / "signs"
        write_engine(beside, key=key, **changes)
        place = self.swap / "signs"
        if place.exists():
            shutil.rmtree(place)
        beside.rename(place)
        return place

    def sign(self, *engines: SignedEngine) -> None:
        self.signed.write_bytes(canonical_json(SignedEngines("1.4.0", engines)))

    def begin(self) -> Change:
        change = self.folder.begin(self.pipeline)
        assert change is not None, self.pipeline.slot.swap_note
        assert change.done.wait(WAIT_S)
        return change


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Callable[..., Site]]:
    sites: list[Site] = []

    def make(**options: Any) -> Site:
        sites.append(Site(tmp_path, **options))
        return sites[-1]

    yield make
    for one in sites:
        one.worker.pause(WAIT_S)
        job = one.worker.submit(one.pipeline.slot.close)
        job.done.wait(WAIT_S)
        assert one.worker.stop(WAIT_S)


def test_an_engine_is_put_in_between_two_frames_and_taken_out_again(site: Callable[..., Site]) -> None:
    one = site().start()
    one.frame("before")
    assert one.pipeline.health().engine_key == KEY
    place = one.put_in()
    assert one.begin().refused == ""
    one.frame("after")
    health = one.pipeline.health()
    assert (health.engine_key, health.serving, health.state) == (NEW, "swapped", ACTIVE)
    assert (health.frames, health.drops, health.errors) == (2, 0, 0)
    shutil.rmtree(place)
    assert one.begin().refused == ""
    one.frame("back")
    assert (one.pipeline.health().engine_key, one.pipeline.health().serving) == (KEY, "configured")


def test_the_folder_is_watched_and_what_lay_there_before_is_left_alone(site: Callable[..., Site]) -> None:
    one = site().start()
    place = one.put_in()
    watch = SwapFolder(one.swap, one.engines, [one.pipeline], one.changer, one.said.append)
    watch.poll()
    assert one.said == []
    shutil.rmtree(place)
    watch.poll()
    assert one.said == [f"signs: nothing to do: no engine in {place}, and none that was put in serves"]
    one.put_in()
    watch.poll()
    assert one.said[-1].startswith("signs: loading fp32 engine cdcdcdcdcdcd")
    until(lambda: one.pipeline.slot.source == "swapped")


def until(what: Callable[[], object]) -> None:
    end = time.monotonic() + WAIT_S
    while not what():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_an_engine_of_another_model_or_shape_or_the_same_one_is_refused(site: Callable[..., Site]) -> None:
    one = site().start()
    place = one.put_in()
    identity = write_engine(place)
    cases = {
        "holds an engine of model 'doors', not of 'signs'": replace(identity, model="doors"),
        "its inputs are other, the release's engine has image": replace(
            identity, inputs=(replace(identity.inputs[0], name="other"),)
        ),
        "its output 'map' is float32 [1, 1, 2, 2], the release's engine has float32": replace(
            identity, outputs=(TensorSpec("map", (1, 1, 2, 2), "float32"),)
        ),
    }
    for sentence, wrong in cases.items():
        (place / "engine.json").write_bytes(canonical_json(wrong))
        assert one.folder.begin(one.pipeline) is None
        assert sentence in one.pipeline.slot.swap_note
    (place / "engine.json").write_text("{")
    assert one.folder.begin(one.pipeline) is None
    assert "is not an engine sidecar" in one.pipeline.slot.swap_note
    one.put_in()
    assert one.begin().refused == ""
    assert one.folder.begin(one.pipeline) is None
    assert "this engine (cdcdcdcdcdcd) serves already" in one.pipeline.slot.swap_note


def test_an_engine_that_is_torn_or_answers_wrongly_is_refused_and_the_old_one_serves(site: Callable[..., Site]) -> None:
    one = site().start()
    place = one.put_in()
    (place / "engine.onnx").write_bytes(b"torn")
    assert "bytes, engine.json says" in one.begin().refused
    one.put_in(golden_shift=3.0)
    refused = one.begin().refused
    assert "self-test failed" in refused
    assert one.pipeline.slot.swap_note == f"refused: {refused}"
    one.frame("still")
    assert one.pipeline.health().engine_key == KEY


def test_a_swap_that_memory_cannot_hold_is_refused_with_both_numbers(site: Callable[..., Site]) -> None:
    one = site(free=lambda: 10 << 20).start()
    one.put_in()
    assert one.begin().refused.startswith(
        "no memory for another engine: signs fp32 needs about 64 MiB in addition to what is loaded, 10 MiB are free"
    )


# ── signed fleets ────────────────────────────────────────────────────────────────────────────────────────────────


def test_an_engine_that_somebody_signed_for_is_put_in(site: Callable[..., Site]) -> None:
    one = site().start()
    one.sign(SignedEngine("signs", "fp32", NEW, layer_digest(one.put_in())))
    assert one.begin().refused == ""
    one.frame("after")
    assert one.pipeline.health().engine_key == NEW


@pytest.mark.parametrize(
    "signed",
    [
        (),
        (SignedEngine("signs", "fp32", KEY, "sha256:" + "1" * 64),),
        (SignedEngine("doors", "fp32", NEW, "sha256:" + "1" * 64),),
        (SignedEngine("signs", "fp16", NEW, "sha256:" + "1" * 64),),
    ],
    ids=["nothing", "another key", "another model", "another precision"],
)
def test_an_engine_that_nobody_signed_for_is_refused(
    site: Callable[..., Site], signed: tuple[SignedEngine, ...]
) -> None:
    one = site().start()
    one.sign(*signed)
    one.put_in()
    assert one.folder.begin(one.pipeline) is None
    assert one.pipeline.slot.swap_note == (
        f"refused: engine {NEW} (signs, fp32) is not in the signed release 1.4.0, and this fleet is signed (publish a "
        "release with this engine and have it signed)"
    )
    one.frame("still")
    assert one.pipeline.health().engine_key == KEY


@pytest.mark.parametrize("name", ["engine.onnx", "engine.json", "golden.npz"])
def test_one_that_only_claims_a_signed_key_is_refused(site: Callable[..., Site], name: str) -> None:
    """The key is a word in a file beside the engine: whoever writes the one writes the other."""
    one = site().start()
    place = one.put_in()
    one.sign(SignedEngine("signs", "fp32", NEW, layer_digest(place)))
    if name == "engine.json":
        text = (place / name).read_text()
        assert '"min_cosine":0.999' in text
        (place / name).write_text(text.replace('"min_cosine":0.999', '"min_cosine":-1.0'))
    else:
        (place / name).write_bytes((place / name).read_bytes() + b"\0")
    refused = one.begin().refused
    assert "claims engine cdcdcdcdcdcd and has other files: sha256:" in refused
    assert one.pipeline.slot.swap_note == f"refused: {refused}"
    one.frame("still")
    assert one.pipeline.health().engine_key == KEY


@pytest.mark.parametrize("text", ["", "{", '{"version": "1", "engines": [{"model": "signs"}]}'])
def test_a_list_that_cannot_be_read_lets_nothing_in(site: Callable[..., Site], text: str) -> None:
    one = site().start()
    one.signed.write_text(text)
    one.put_in()
    assert one.folder.begin(one.pipeline) is None
    assert "does not say whose engines may be put in" in one.pipeline.slot.swap_note
    assert "run `fleet-updater recover` on the robot" in one.pipeline.slot.swap_note


def test_the_list_is_that_of_the_container_s_slot(tmp_path: Path) -> None:
    for slot in "ab":
        listed = SignedEngines(f"of-{slot}", ())
        (tmp_path / signed_engines_file(slot if slot == "b" else "")).write_bytes(canonical_json(listed))
    for slot, version in (("", "of-a"), ("b", "of-b")):
        found = signed_by_environment({"JETFLEET_SERVE_DIR": str(tmp_path), "JETFLEET_SLOT": slot})()
        assert found is not None
        assert found.version == version
    assert signed_by_environment({"JETFLEET_SERVE_DIR": str(tmp_path / "none")})() is None


def test_before_configure_and_after_cleanup_nothing_is_put_in(site: Callable[..., Site]) -> None:
    one = site()
    one.put_in()
    assert one.folder.begin(one.pipeline) is None
    assert "configure the node first" in one.pipeline.slot.swap_note
    one.start()
    one.worker.pause(WAIT_S)
    assert one.worker.submit(one.pipeline.slot.close).done.wait(WAIT_S)
    change = one.changer.begin(Change(one.pipeline, configured(one.model(), one.engines)))
    assert change.done.wait(WAIT_S)
    assert "being cleaned up" in change.refused
    assert one.pipeline.slot.engine is None


def test_a_failing_model_is_replaced_by_its_fallback_while_the_worker_serves(site: Callable[..., Site]) -> None:
    """Even where memory holds only one engine: what failed is freed first."""
    one = site(free=lambda: 0)
    write_engine(one.engines / "signs" / "fp16", key=NEW)
    identity = write_engine(one.engines / "signs", key=KEY)
    (one.engines / "signs" / "fp16" / "engine.json").write_bytes(
        canonical_json(replace(identity, key=NEW, precision="fp16"))
    )
    model = one.model()
    one.pipeline.slot.model = replace(model, fallback=FallbackEngine("signs", "fp16", NEW, model.inputs, model.outputs))
    one.pipeline.slot.replace_engine = lambda candidate: _begun(one, candidate)
    one.start()
    serving = one.pipeline.slot.serving
    assert serving is not None
    serving.engine.runner.close()  # every inference fails from here on
    for count in range(MAX_CONSECUTIVE_FAILURES):
        one.pipeline.offer("image", Pending(Stamp(1, 5, f"bad{count}"), np.zeros((HEIGHT, WIDTH, 3), np.uint8)), 0)
        until(lambda want=count + 1: one.pipeline.stats.errors >= want)
    until(lambda: one.pipeline.state == ACTIVE and one.pipeline.slot.source == "fallback")
    one.frame("good")
    health = one.pipeline.health()
    assert (health.state, health.serving, health.precision, health.engine_key) == (ACTIVE, "fallback", "fp16", NEW)
    assert "5 inferences in a row failed" in health.serving_reason


def _begun(one: Site, candidate: Any) -> None:
    one.changer.begin(Change(one.pipeline, candidate))


def test_what_an_engine_needs_counts_its_file_twice_and_its_buffers(tmp_path: Path) -> None:
    identity = write_engine(tmp_path / "signs")
    assert needed(identity) == 2 * identity.engine_bytes + HEIGHT * WIDTH * 3 + HEIGHT * WIDTH * 4
    free = available_memory()
    assert free is not None
    assert free > 0
