"""Statements of builders: in-toto's form, SLSA's predicate, and compared word for word."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from fleet.signing.provenance import BASE_IMAGE, ENGINE, Build, statement, why_not

DIGEST = "sha256:" + "a" * 64
BUILD = Build(
    kind=ENGINE,
    name="engines:" + "b" * 64,
    profile="sim-x86",
    parameters={"key": "sha256:" + "b" * 64, "model": "detector", "precision": "fp32"},
    materials={"recipe:builder": "sha256:" + "c" * 64, "onnx:detector": "sha256:" + "d" * 64},
)


def words(build: Build = BUILD, digest: str = DIGEST) -> bytes:
    return statement(build, digest, version="1.0", run="run-1", started=1_800_000_000.0, finished=1_800_000_060.0)


def test_the_form_is_in_toto_s_and_slsa_s() -> None:
    document = json.loads(words())
    assert document["_type"] == "https://in-toto.io/Statement/v1"
    assert document["predicateType"] == "https://slsa.dev/provenance/v1"
    assert document["subject"] == [{"name": BUILD.name, "digest": {"sha256": "a" * 64}}]
    definition, run = document["predicate"]["buildDefinition"], document["predicate"]["runDetails"]
    assert definition["buildType"] == ENGINE
    assert definition["externalParameters"]["model"] == "detector"
    assert [each["uri"] for each in definition["resolvedDependencies"]] == ["onnx:detector", "recipe:builder"]
    assert run["builder"]["id"] == "https://jetfleet.io/builders/sim-x86"
    assert run["metadata"] == {
        "invocationId": "run-1",
        "startedOn": "2027-01-15T08:00:00Z",
        "finishedOn": "2027-01-15T08:01:00Z",
    }


def test_the_same_build_is_the_same_whenever_and_whoever_ran_it() -> None:
    assert why_not(words(), BUILD, DIGEST) == ""
    later = statement(BUILD, DIGEST, version="2.0", run="run-2", started=0.0, finished=1.0)
    assert why_not(later, BUILD, DIGEST) == ""


@pytest.mark.parametrize(
    ("build", "digest", "says"),
    [
        (BUILD, "sha256:" + "e" * 64, "subject/0/digest/sha256"),
        (replace(BUILD, name="engines:other"), DIGEST, "subject/0/name"),
        (replace(BUILD, kind=BASE_IMAGE), DIGEST, "predicate/buildDefinition/buildType"),
        (replace(BUILD, parameters={**BUILD.parameters, "precision": "int8"}), DIGEST, "externalParameters/precision"),
        (replace(BUILD, parameters={"key": "x"}), DIGEST, "externalParameters/key"),
        (
            replace(BUILD, materials={**BUILD.materials, "recipe:builder": "sha256:0"}),
            DIGEST,
            "resolvedDependencies/1/digest",
        ),
        (replace(BUILD, materials={}), DIGEST, "resolvedDependencies"),
    ],
)
def test_what_is_of_another_build_is_named(build: Build, digest: str, says: str) -> None:
    why = why_not(words(), build, digest)
    assert says in why
    assert "expected is" in why


CHANGES: list[Callable[[Any], Any]] = [
    lambda d: {**d, "extra": 1},
    lambda d: {**d, "_type": "https://in-toto.io/Statement/v0.1"},
    lambda d: {**d, "subject": d["subject"] * 2},
    lambda d: {**d, "predicate": {**d["predicate"], "more": {}}},
    lambda d: [],
    lambda d: {**d, "predicate": []},
    lambda d: None,
]


@pytest.mark.parametrize("change", CHANGES)
def test_more_or_less_than_is_known_is_refused(change: Callable[[Any], Any]) -> None:
    assert why_not(json.dumps(change(json.loads(words()))).encode(), BUILD, DIGEST)
