"""Each robot's own part of a release: a blob of its own in the registry, and in the document its digest alone.

So no robot's environment is in another robot's order. A document as it is published is *closed*; with the parts filled
in it is *open*, which is how this program looks at it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Collection, Mapping

from fleet.oci.image_spec import EMPTY, Bytes, Descriptor, manifest_bytes
from fleet.parallel import side_by_side
from runtime.contract.codec import canonical_json, from_json
from runtime.contract.robot.release import EnvironmentPart, ReleaseDocument

PART_TYPE = "application/vnd.jetfleet.environment.v1+json"
_EMPTY = Bytes.of(b"{}")
_WITH_PARTS = 2
_PARALLEL = 16


def closed(document: ReleaseDocument) -> tuple[ReleaseDocument, Mapping[str, bytes]]:
    """Return a document as it is published, and the parts that it names: digest → content. Robots may share one."""
    if not document.environment and not document.secrets:
        return document, {}
    digests: dict[str, str] = {}
    contents: dict[str, bytes] = {}
    for robot in sorted({*document.environment, *document.secrets}):
        part = EnvironmentPart(dict(document.environment.get(robot, {})), dict(document.secrets.get(robot, {})))
        if not part.is_empty:
            blob = Bytes.of(canonical_json(part))
            digests[robot], contents[blob.digest] = blob.digest, blob.content
    bare = dataclasses.replace(document, environment={}, secrets={}, parts=digests, schema=_WITH_PARTS)
    return bare, contents


def opened(
    document: ReleaseDocument, read: Callable[[str], bytes], robots: Collection[str] | None = None
) -> ReleaseDocument:
    """Return a published document with its robots' parts filled in. ``read``: the content of a digest.

    ``robots``: those whose parts are wanted; None: all. One that an older version published has them already. Raises
    what ``read`` raises, and ValueError at junk.
    """
    named = {name: digest for name, digest in document.parts.items() if robots is None or name in robots}
    wanted = sorted(set(named.values()))
    if not wanted:
        return document
    found = side_by_side(lambda digest: from_json(EnvironmentPart, read(digest)), wanted, workers=_PARALLEL)
    parts = dict(zip(wanted, found, strict=True))
    mine = {robot: parts[digest] for robot, digest in named.items()}
    return dataclasses.replace(
        document,
        environment={**document.environment, **{name: part.environment for name, part in mine.items()}},
        secrets={name: part.secrets for name, part in mine.items() if part.secrets},
    )


def parts_manifest(contents: Mapping[str, bytes]) -> bytes:
    """Return a manifest that holds the parts, so that no registry takes them for garbage."""
    layers = [Descriptor(PART_TYPE, digest, len(content)) for digest, content in sorted(contents.items())]
    return manifest_bytes(Descriptor(EMPTY, _EMPTY.digest, _EMPTY.size), layers, artifact_type=PART_TYPE)
