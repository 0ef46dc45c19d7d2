"""A model's file as text: every entry under a comment that says what it was taken from."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fleet.manifest.proposal.pictures import CALIBRATION, Pictures
from fleet.manifest.proposal.proposal import Published
from fleet.manifest.proposal.vectors import State
from runtime.contract.printable import printable

_WIDTH = 116
_GATES = {"fp32": {"min_cosine": 0.999}, "fp16": {"min_cosine": 0.999}}
_INT8 = (
    "int8 needs frames to take ranges from: at least 8, hundreds are better",
    "precisions: {int8: {calibration: calibration/frames}}",
)


@dataclass(frozen=True)
class Entry:
    """One entry of ``inputs``."""

    tensor: str
    values: Mapping[str, Any]
    why: tuple[str, ...]


class Quoted(str):
    """Somebody's name of a tensor, file or class: whatever it looks like, it is a text."""

    __slots__ = ()


def model_text(
    declared: Mapping[str, Any],
    inputs: Sequence[Entry],
    published: Sequence[Published],
    states: Sequence[State],
    heading: Sequence[str],
    *,
    quantized: bool,
    pictures: Pictures | None = None,
) -> str:
    """Return the file. ``declared`` has name, source and golden."""
    name = declared["name"]
    parts = [_comment(heading), _dump({"name": name, "source": _source(declared["source"])}), "inputs:\n"]
    parts += [_item(entry.why, {"tensor": Quoted(entry.tensor), **_values(entry.values)}) for entry in inputs]
    parts.append("outputs:\n")
    parts += [_item((each.why,), _output(each, name)) for each in published]
    if states:
        parts.append("state:\n")
        parts += [_item((state.why,), _state(state)) for state in states]
    if pictures is None:
        parts.append(_comment(("noise for now: give frames in which the model finds something",)))
    parts.append(_dump({"golden": declared["golden"]}))
    if quantized:
        parts.append(_comment(("the file is quantized: its own scales are the engine's",)))
        parts.append(_dump({"precisions": {"int8": {}}, "gates": {"accuracy": {"int8": {"min_cosine": 0.999}}}}))
    elif pictures is not None and pictures.calibrate:
        parts.append(_dump({"precisions": {"int8": {"calibration": CALIBRATION}}, "gates": {"accuracy": _GATES}}))
    else:
        parts += [_comment(_INT8), _dump({"gates": {"accuracy": _GATES}})]
    return "".join(parts)


def _source(source: Mapping[str, Any]) -> dict[str, Any]:
    found = dict(source)
    if "data" in found:
        found["data"] = {Quoted(place): digest for place, digest in found["data"].items()}
    return found


def _output(each: Published, name: str) -> dict[str, Any]:
    found: dict[str, Any] = {}
    if each.tensor is not None:
        found["tensor"] = Quoted(each.tensor)
    else:
        found["tensors"] = {role: Quoted(tensor) for role, tensor in each.tensors.items()}
    decoder: dict[str, Any] = {"name": each.decoder}
    if each.options:
        decoder["options"] = _values(each.options)
    return {**found, "topic": f"~/{name}/{each.what}", "decoder": decoder}


def _state(state: State) -> dict[str, Any]:
    shape = {} if state.shape is None else {"shape": state.shape}
    return {"input": Quoted(state.input), "output": Quoted(state.output), **shape}


def _values(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values with names of classes as texts."""
    return {key: [Quoted(each) for each in value] if key == "labels" else value for key, value in values.items()}


def _item(why: Sequence[str], values: Mapping[str, Any]) -> str:
    text = _dump(values).splitlines()
    lines = [f"  - {text[0]}", *(f"    {line}" for line in text[1:])]
    return textwrap.indent(_comment([each for each in why if each]), "  ") + "\n".join(lines) + "\n"


def _comment(lines: Sequence[str]) -> str:
    found = []
    for line in lines:
        found += textwrap.wrap(printable(line, 1000), _WIDTH - 4, break_long_words=False) or []
    return "".join(f"# {line}\n" for line in found)


def _dump(values: Mapping[str, Any]) -> str:
    """Return the mapping in block form, what it holds in flow form where that is short."""
    import yaml

    class Dumper(yaml.SafeDumper):
        pass

    Dumper.add_representer(
        list, lambda dumper, items: dumper.represent_sequence("tag:yaml.org,2002:seq", items, flow_style=True)
    )
    Dumper.add_representer(
        Quoted, lambda dumper, text: dumper.represent_scalar("tag:yaml.org,2002:str", str(text), style='"')
    )
    return str(yaml.dump(dict(values), Dumper=Dumper, sort_keys=False, default_flow_style=None, width=_WIDTH - 8))
