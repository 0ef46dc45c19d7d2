"""Semantic segmentation: classes of every pixel, as scores or as numbers."""

from __future__ import annotations

from fleet.manifest.proposal.heads.depth import map_of
from fleet.manifest.proposal.heads.subject import IMAGENET, Subject
from fleet.manifest.proposal.proposal import Head, Published

_CLASSES = 256


def recognise(subject: Subject) -> Head | None:
    """Return a mask: a plane of class numbers, planes of scores, or one plane of a sigmoid."""
    if subject.image is None:
        return None
    return _numbers(subject) or _planes(subject) or _one(subject)


def _numbers(subject: Subject) -> Head | None:
    found = [
        (name, tensor)
        for name, tensor in subject.outputs.items()
        if tensor.dtype.startswith(("int", "uint")) and tensor.shape is not None and len(tensor.shape) in (3, 4)
        if subject.graph.ends_in(name) == "ArgMax"
    ]
    if len(found) != 1:
        return None
    name, tensor = found[0]
    why = f"class numbers {tensor.shown} of an ArgMax, one a pixel"
    return _head(subject, Published("mask", "mask", _labels(subject, None), name, why=why))


def _planes(subject: Subject) -> Head | None:
    """Return scores of several classes; auxiliary outputs of the same form are left out."""
    found = []
    for name, shape in subject.of_rank(4).items():
        channels, sides = shape[1], list(zip(shape[2:], subject.size, strict=True))
        if channels is None or not 2 <= channels <= _CLASSES or shape[0] not in (1, None):
            continue
        if all(size is None or whole // 8 <= size <= whole for size, whole in sides):
            found.append((name, channels))
    main = [each for each in found if "aux" not in each[0].lower()] or found
    if not main or len(found) != len(subject.of_rank(3, 4)) or len({channels for _, channels in main}) != 1:
        return None
    name, channels = main[0]
    if channels > 64 and len(subject.metadata.names) != channels and not subject.named("seg", "logit", "out", "mask"):
        return None
    why = f"{channels} planes of scores, the best one is the pixel's class"
    return _head(subject, Published("mask", "mask", _labels(subject, channels), name, why=why), sure=channels <= 64)


def _one(subject: Subject) -> Head | None:
    found = map_of(subject)
    if found is None or subject.graph.ends_in(found[0]) != "Sigmoid" or len(found[1]) != 4 or found[1][1] != 1:
        return None
    why = f"one plane {list(found[1])} of a sigmoid: 255 where it is over the threshold"
    return _head(subject, Published("mask", "mask", {"threshold": 0.5}, found[0], why=why), sure=False)


def _labels(subject: Subject, channels: int | None) -> dict[str, object]:
    names = subject.metadata.names
    return {"labels": list(names)} if names and channels in (None, len(names)) else {}


def _head(subject: Subject, published: Published, *, sure: bool = True) -> Head:
    unused = tuple(name for name in subject.outputs if name != published.tensor)
    return Head("segmentation", (published,), IMAGENET, (512, 512), unused=unused, sure=sure)
