"""A name, a version, a digest ends where it ends: nothing comes after it, a newline least of all."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
from pydantic import TypeAdapter, ValidationError

from fleet.manifest.schema.values import Name, Seconds, Sha256, VariableName, Version
from runtime.contract.device import same_fact
from runtime.contract.node.decoders import is_plugin
from runtime.contract.versions import version_order
from runtime.updater.fetching.errors import Cannot
from runtime.updater.fetching.loopback import _PATH, _RANGE
from runtime.updater.fetching.reference import parse_reference
from runtime.updater.state.release_folder import files_of, quote
from runtime.updater.state.world import WorldError
from tests.fakes.robots.robot_world import order, reference, variant

HEX = "sha256:" + "0" * 64


def _compose_file(name: str) -> object:
    given = order("1")
    return files_of(replace(given, variant=replace(given.variant, compose_files=(name,)), compose={name: "x"}))


def _image(image: str) -> object:
    return files_of(replace(order("1"), variant=variant("1", image=image)))


def _true(value: object) -> object:
    if not value:
        raise ValueError("no")
    return value


NAMES: dict[str, tuple[Callable[[str], object], str]] = {
    "a version": (version_order, "1.2.3-rc.1"),
    "a variable on the robot": (lambda name: quote(name, "x"), "NAME"),
    "an image on the robot": (
        lambda image: files_of(replace(order("1"), variant=variant("1", image=image))),
        reference("1"),
    ),
    "a compose file": (_compose_file, "robot.compose.yaml"),
    "a reference to fetch": (parse_reference, "registry.test/a@" + HEX),
    "a plug-in": (lambda name: _true(is_plugin(name)), "my-package:entry"),
    "a path on the loopback": (lambda path: _true(_PATH.fullmatch(path)), "/v2/jetfleet-fetch/00/blobs/" + HEX),
    "a range": (lambda text: _true(_RANGE.fullmatch(text)), "bytes=1-"),
    "a name of the manifest": (TypeAdapter(Name).validate_python, "amr-1"),
    "a version of the manifest": (TypeAdapter(Version).validate_python, "1.2.3"),
    "a duration of the manifest": (TypeAdapter(Seconds).validate_python, "30s"),
    "a sha256 of the manifest": (TypeAdapter(Sha256).validate_python, "0" * 64),
    "a variable of the manifest": (TypeAdapter(VariableName).validate_python, "NAME"),
}


@pytest.mark.parametrize("what", NAMES)
@pytest.mark.parametrize("after", ["\n", "\n\n", "\n0", " ", "\u0663", "\x00"])
def test_nothing_comes_after_a_name(what: str, after: str) -> None:
    takes, name = NAMES[what]
    takes(name)
    with pytest.raises((ValueError, ValidationError, WorldError, Cannot)):
        takes(name + after)


def test_digits_are_those_of_ascii() -> None:
    for what in ("a version", "a version of the manifest", "a duration of the manifest", "a range"):
        takes, name = NAMES[what]
        with pytest.raises((ValueError, ValidationError)):
            takes(name.replace("1", "\u0661").replace("3", "\u0663"))
    assert not same_fact("tensorrt", "10.3", "10.\u0663")
