"""The fleet's trust roots in the registry, for robots that pull. Each robot judges the chain by its own root."""

from __future__ import annotations

from collections.abc import Sequence

from fleet.oci.image_spec import EMPTY, MANIFEST, Bytes, Descriptor, manifest_bytes
from fleet.signing.desired import Office
from runtime.contract.codec import canonical_json
from runtime.contract.robot.desired import ROOTS_TAG, ROOTS_TYPE, RootChain
from runtime.contract.robot.trust import Signed

_EMPTY = Bytes.of(b"{}")


def publish_roots(office: Office, roots: Sequence[Signed]) -> bool:
    """Put the chain into the registry; return whether it was another one before. Raises RegistryError."""
    blob = Bytes.of(canonical_json(RootChain(tuple(roots))))
    layer = Descriptor(ROOTS_TYPE, blob.digest, blob.size)
    body = manifest_bytes(Descriptor(EMPTY, _EMPTY.digest, _EMPTY.size), [layer], artifact_type=ROOTS_TYPE)
    before = office.registry.head_manifest(office.repository, ROOTS_TAG)
    if before == Bytes.of(body).digest:
        return False
    office.registry.push_blob(office.repository, _EMPTY)
    office.registry.push_blob(office.repository, blob)
    office.registry.put_manifest(office.repository, ROOTS_TAG, body, MANIFEST)
    return True
