"""Distance, or its inverse, for every pixel: MiDaS, Depth Anything, ZoeDepth, Metric3D."""

from __future__ import annotations

from typing import Any

from fleet.manifest.proposal.heads.subject import IMAGENET, Subject
from fleet.manifest.proposal.proposal import Head, Published

_NAMES = ("depth", "disp", "midas", "metric3d", "zoe", "dpt")
_METRIC = ("metric", "zoe", "kitti", "nyu", "hypersim", "vkitti")
_POSITIVE = frozenset({"Exp", "Softplus", "Relu"})


def map_of(subject: Subject) -> tuple[str, tuple[int | None, ...]] | None:
    """Return the one float output of one channel that is about as large as the picture, and its shape."""
    if subject.image is None:
        return None
    found = []
    for name, shape in subject.of_rank(3, 4).items():
        plane = shape[-2:]
        if len(shape) == 4 and shape[-1] == 1 and shape[1] != 1:
            plane = shape[1:3]
        if len(shape) == 4 and 1 not in (shape[1], shape[-1]):
            continue
        if shape[0] in (1, None) and all(
            size is None or size >= whole // 4 for size, whole in zip(plane, subject.size, strict=True)
        ):
            found.append((name, shape))
    return found[0] if len(found) == 1 else None


def recognise(subject: Subject) -> Head | None:
    """Return a depth image: one plane, called depth or ending in what is never negative."""
    found = map_of(subject)
    if found is None or subject.graph.ends_in(found[0]) == "Sigmoid":
        return None
    name, shape = found
    called = subject.named(*_NAMES)
    ending = subject.graph.ends_in(name)
    if not called and ending not in _POSITIVE:
        return None
    metric = subject.named(*_METRIC) or (
        ending in ("Exp", "Softplus") and not subject.named("disp", "midas", "inverse")
    )
    options: dict[str, Any] = {} if metric else {"inverse": True}
    why = f"one plane {list(shape)}" + (" called depth" if called else f" that ends in {ending}")
    why += ": distance in metres" if metric else ": inverse depth without a scale, as MiDaS and Depth Anything give it"
    note = "check unit, scale and inverse of the depth: the file does not say them" + (
        "" if metric else "; inverse depth needs scale and offset of your own to be metres"
    )
    published = (Published("depth", "depth", options, name, why=why),)
    return Head("depth", published, IMAGENET, (518, 518), sure=False, notes=(note,))
