"""Values of a proposal: what is written into a model's file, and why."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

from runtime.contract.node.decoders import DECODER_OPTIONS, option_problems

TENSOR_MOST = 65536
"""Elements that decoder ``tensor`` publishes at most."""
TENSOR_USUAL = 4096


@dataclass(frozen=True)
class Preprocessing:
    """What was trained on, as far as a family's exporters agree on it."""

    resize: str = "stretch"
    scale: float = 1.0 / 255.0
    mean: tuple[float, ...] = (0.0, 0.0, 0.0)
    std: tuple[float, ...] = (1.0, 1.0, 1.0)
    color: str = "rgb"
    extra: tuple[tuple[str, Any], ...] = ()
    """Further keys of ``preprocess``."""
    why: str = "nothing in the file says what the model was trained on: values from 0 to 1"


@dataclass(frozen=True)
class Published:
    """One entry of ``outputs``."""

    what: str
    """Last word of its topic."""
    decoder: str
    options: dict[str, Any] = field(default_factory=dict)
    tensor: str | None = None
    tensors: dict[str, str] = field(default_factory=dict)
    """Role → tensor, of a decoder over several outputs."""
    why: str = ""

    @property
    def takes(self) -> tuple[str, ...]:
        """The model's outputs that it reads."""
        return (self.tensor,) if self.tensor is not None else tuple(self.tensors.values())


@dataclass(frozen=True)
class Head:
    """What a family's recogniser says of a model's outputs."""

    family: str
    """As a person calls it."""
    published: tuple[Published, ...]
    preprocessing: Preprocessing = Preprocessing()
    size: tuple[int, int] | None = None
    """Rows and columns where neither graph nor metadata say."""
    unused: tuple[str, ...] = ()
    """Outputs that nobody needs beside these."""
    sure: bool = True
    """False: something else has outputs of these shapes too."""
    notes: tuple[str, ...] = ()
    """What a person should check."""


def supported(each: Published) -> bool:
    """Say whether this version has the decoder with these options: by the tables that the manifest's checks read."""
    return each.decoder in DECODER_OPTIONS and not option_problems(each.decoder, each.options)


def numbers(each: Published) -> Published:
    """Return an output of decoder ``tensor`` as an array of numbers, as programs read them that take no pictures."""
    return replace(each, options={**each.options, "message": "multiarray"})


def as_it_is(name: str, count: int | None, what: str, why: str) -> Published:
    """Return an output published by decoder ``tensor``; ``count`` of its elements is None where nothing says."""
    options: dict[str, Any] = {}
    if count is None or count > TENSOR_USUAL:
        options["max_elements"] = TENSOR_MOST if count is None else min(count, TENSOR_MOST)
    if count is not None and count > TENSOR_MOST:
        why += f"; it has {count} numbers, and decoder tensor publishes at most {TENSOR_MOST}: name a decoder that fits"
    return Published(what, "tensor", options, name, why=why)
