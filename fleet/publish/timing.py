"""Timing caches in the registry: what TensorRT measured on one kind of device, for the next build on the same kind.

One tag for each (TensorRT, module, SM count, power mode). Its artifact holds one or more parts: two builders that ran
at the same time both leave what they measured, the next one gets both parts, TensorRT merges them (nothing else can),
and one part takes their place. A tag moves only from what was read: who finds that it moved meanwhile reads again. A
registry cannot compare and set, so between the last look and the write another write can still be lost: that costs the
next build the time to measure again, and nothing else.
"""

from __future__ import annotations

import re
import threading
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from fleet.errors import FleetError, RegistryError
from fleet.manifest.files.named_files import file_sha256
from fleet.oci.image_spec import MANIFEST, Bytes, Descriptor, manifest_bytes, parse_manifest, place
from fleet.oci.skim import chosen, said
from fleet.ports import Registry
from runtime.contract.codec import canonical_json, from_json
from runtime.contract.device import same_fact
from runtime.contract.engine.build import DeviceFacts
from runtime.contract.engine.timing import MAX_TIMING_BYTES, TimingFacts, timing_file, timing_name

FACTS_TYPE = "application/vnd.jetfleet.timing.facts.v1+json"
CACHE_TYPE = "application/vnd.jetfleet.timing.cache"
MOST_PARTS = 8
"""More builders than that side by side, none of which had the others' part, and the oldest part is left out."""
_TRIES = 5


@dataclass(frozen=True, slots=True)
class _Stored:
    """What a tag holds."""

    digest: str | None
    parts: tuple[Descriptor, ...] = ()
    """The newest last."""


def timing_tag(facts: TimingFacts) -> str:
    """Return the tag of what was measured on such devices: ``10.3.0.30_p3767-0003_8_MAXN-SUPER_1a2b3c4d``."""
    words = (facts.tensorrt, facts.module[:40], str(facts.sm_count), (facts.power_mode or "unknown")[:30])
    return "_".join([*(_plain(word) for word in words), timing_name(facts)[:8]])


def _plain(word: str) -> str:
    return re.sub(r"[^A-Za-z0-9.-]", "-", word)


class TimingStore:
    """Implements `fleet.build.timing.TimingCaches` on a repository of the registry. Used by several threads."""

    def __init__(self, registry: Registry, repository: str) -> None:
        self._registry = registry
        self._repository = repository
        self._one_at_a_time = threading.Lock()

    # ── fetching ─────────────────────────────────────────────────────────────────────────────────────────────────

    def fetch(self, device: DeviceFacts, folder: Path) -> list[str]:
        """Put the caches of all power modes of ``device`` into ``folder``; return notes on what is not there."""
        try:
            fitting = [tag for tag in self._registry.tags(self._repository) if _may_fit(tag, device)]
        except RegistryError as error:
            return [f"timing caches were not fetched, so this build takes longer: {error.message}"]
        tags, left_out = chosen(fitting)
        return left_out + [note for tag in tags for note in self._fetch(tag, folder)]

    def _fetch(self, tag: str, folder: Path) -> list[str]:
        try:
            found = self._registry.get_manifest(self._repository, tag)
            if found is None:  # deleted since it was listed
                return []
            manifest = parse_manifest(found, self._place(tag))
            facts = from_json(TimingFacts, self._registry.read_blob(self._repository, manifest.config.digest))
            notes = []
            for number, part in enumerate(manifest.layers):
                if part.size > MAX_TIMING_BYTES:
                    notes.append(f"timing cache {tag}: a part of {part.size >> 20} MiB is too large, and was left out")
                else:
                    to = folder / timing_file(facts, number)
                    self._registry.fetch_blob(self._repository, part.digest, to, size=part.size)
        except (FleetError, ValueError, RecursionError, OverflowError) as error:
            message = error.message if isinstance(error, FleetError) else said(error)
            return [f"timing cache {tag} was not fetched, so this build takes longer: {message}"]
        return notes

    # ── keeping ──────────────────────────────────────────────────────────────────────────────────────────────────

    def keep(self, facts: TimingFacts, given: Path, cache: Path) -> list[str]:
        """Store ``cache`` in place of the parts of ``facts`` in ``given``; return notes.

        It holds them, but for those that TensorRT refused or broke on, which help nobody. Parts that others stored
        meanwhile stay next to it.
        """
        size = cache.stat().st_size
        if size > MAX_TIMING_BYTES:
            anew = f"delete {self._place(timing_tag(facts))} to start over"
            return [f"the timing cache was not kept: {size} bytes are more than {MAX_TIMING_BYTES}; {anew}"]
        part = Bytes.of(cache.read_bytes())
        merged = {f"sha256:{file_sha256(path)}" for path in given.glob(f"{timing_name(facts)}.*.cache")}
        try:
            with self._one_at_a_time:
                return self._keep(facts, part, merged - {part.digest})
        except RegistryError as error:
            return [f"the timing cache was not kept, so the next build measures again: {error.message}"]

    def _keep(self, facts: TimingFacts, part: Bytes, merged: set[str]) -> list[str]:
        tag = timing_tag(facts)
        for _ in range(_TRIES):
            there = self._read(tag)
            parts, notes = _with(there.parts, part, merged)
            if {one.digest for one in parts} == {one.digest for one in there.parts}:
                return []
            self._registry.push_blob(self._repository, part)
            if self._put(tag, facts, parts, there):
                return notes
        return [f"the timing cache was not kept: other builds changed {self._place(tag)} {_TRIES} times meanwhile"]

    def _put(self, tag: str, facts: TimingFacts, parts: tuple[Descriptor, ...], before: _Stored) -> bool:
        """Move the tag from what it held ``before``; False when it moved meanwhile, by our hand or another's."""
        document = Bytes.of(canonical_json(facts))
        self._registry.push_blob(self._repository, document)
        config = Descriptor(FACTS_TYPE, document.digest, document.size)
        body = manifest_bytes(config, parts, artifact_type=FACTS_TYPE)
        if self._registry.head_manifest(self._repository, tag) != before.digest:
            return False
        digest = self._registry.put_manifest(self._repository, tag, body, MANIFEST)
        if self._registry.head_manifest(self._repository, tag) != digest:
            return False  # somebody who had read the same put theirs over ours
        if before.digest is not None:
            # Nothing points at it any more. A registry that allows no deletes keeps it, and that is its own affair.
            with suppress(RegistryError):
                self._registry.delete_manifest(self._repository, before.digest)
        return True

    def _read(self, tag: str) -> _Stored:
        found = self._registry.get_manifest(self._repository, tag)
        if found is None:
            return _Stored(None)
        try:
            manifest = parse_manifest(found, self._place(tag))
        except RegistryError:
            return _Stored(found.digest)  # something else was pushed there: ours takes its place
        return _Stored(found.digest, tuple(one for one in manifest.layers if one.media_type == CACHE_TYPE))

    def _place(self, tag: str) -> str:
        return place(self._registry, self._repository, tag)


def _may_fit(tag: str, device: DeviceFacts) -> bool:
    words = tag.split("_")
    if len(words) != 5:
        return False
    tensorrt, module, sm_count, _mode, _name = words
    return (
        (device.tensorrt is None or same_fact("tensorrt", device.tensorrt, tensorrt))
        and (device.module is None or _plain(device.module[:40]) == module)
        and (device.sm_count is None or str(device.sm_count) == sm_count)
    )


def _with(there: tuple[Descriptor, ...], part: Bytes, merged: set[str]) -> tuple[tuple[Descriptor, ...], list[str]]:
    """Return the parts that the tag should hold, and notes."""
    others = [one for one in there if one.digest not in merged and one.digest != part.digest]
    kept = others[-(MOST_PARTS - 1) :]
    notes = []
    if kept:
        notes.append(f"the timing cache was kept together with {len(kept)} of other builds; the next build merges them")
    if len(others) > len(kept):
        notes.append(
            f"{len(others) - len(kept)} older timing caches were dropped: at most {MOST_PARTS} wait to be merged"
        )
    return (*kept, Descriptor(CACHE_TYPE, part.digest, part.size)), notes
