"""In a signed fleet an engine that is put in must be one of the signed release, byte for byte."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path

from runtime.contract.codec import ContractError, from_json
from runtime.contract.engine.build import EngineIdentity
from runtime.contract.json_decoder import WORDS
from runtime.contract.node.runtime_config import ModelRuntime
from runtime.contract.node.serving import ENV_SERVE_DIR, ENV_SLOT, SERVE_DIR_INSIDE
from runtime.contract.node.signed_engines import SignedEngine, SignedEngines, signed_engines_file
from runtime.engines.errors import EngineError
from runtime.engines.layer_digest import layer_digest
from runtime.executor.serving.candidates import Loader
from runtime.executor.serving.loading import LoadedEngine

_PUBLISH = "publish a release with this engine and have it signed"

Signed = Callable[[], SignedEngines | None]
"""What somebody signed for; None where nobody says that engines must be signed. Raises EngineError."""


def signed_by_environment(environment: Mapping[str, str] = os.environ) -> Signed:
    """Return what reads the updater's word, where the compose file puts it."""
    folder = Path(environment.get(ENV_SERVE_DIR) or SERVE_DIR_INSIDE)
    path = folder / signed_engines_file(environment.get(ENV_SLOT, ""))
    return lambda: read_signed(path)


def read_signed(path: Path) -> SignedEngines | None:
    """Return the signed engines. Raises EngineError for a file that cannot be read: not understood is not allowed."""
    try:
        return from_json(SignedEngines, path.read_bytes(), WORDS)
    except FileNotFoundError:
        return None
    except (OSError, ContractError) as error:
        text = f"{path} does not say whose engines may be put in: {error}"
        raise EngineError("refused", text, "run `fleet-updater recover` on the robot") from error


def check_key(identity: EngineIdentity, signed: SignedEngines | None) -> SignedEngine | None:
    """Return what was signed under an engine's key; None where nothing need be. Raises EngineError, for an engine that
    nobody signed for."""
    if signed is None:
        return None
    found = signed.find(identity.key, identity.model, identity.precision)
    if found is None:
        text = (
            f"engine {identity.key} ({identity.model}, {identity.precision}) is not in the signed release "
            f"{signed.version}, and this fleet is signed"
        )
        raise EngineError("refused", text, _PUBLISH)
    return found


def checking_bytes(wanted: SignedEngine | None, load: Loader) -> Loader:
    """Return a loader that refuses an engine whose files are not the signed ones; where it is called, its files are
    read once more."""
    if wanted is None:
        return load

    def checked(model: ModelRuntime, folder: Path) -> LoadedEngine:
        found = layer_digest(folder)
        if found != wanted.layer_digest:
            claims = f"{folder} claims engine {wanted.key[7:19]} and has other files"
            text = f"{claims}: {found}, signed is {wanted.layer_digest}"
            raise EngineError("refused", text, _PUBLISH)
        return load(model, folder)

    return checked
