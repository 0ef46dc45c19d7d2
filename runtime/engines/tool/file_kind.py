"""What a path that somebody gave is: an engine's folder, a plan, an ONNX file, a report."""

from __future__ import annotations

from pathlib import Path

from runtime.contract.codec import ContractError, from_json
from runtime.contract.engine.build import IDENTITY_FILE, EngineIdentity
from runtime.contract.engine.engine_tool import USAGE
from runtime.engines.errors import EngineError

ENGINE, PLAN, ONNX, REPORT = "engine", "plan", "onnx", "report"
PLAN_SUFFIXES = (".plan", ".engine", ".trt")
_MAGIC = b"ftrt"
_WANTED = "give an engine's folder (with engine.json), a .plan or .onnx file, or a report.json"


def kind_of(path: Path) -> tuple[str, Path]:
    """Return what ``path`` is, and the folder or file to open: an engine file beside its sidecar is its engine.

    Raises EngineError ``usage``.
    """
    if not path.exists():
        raise EngineError(USAGE, f"there is no {path}", _WANTED)
    if path.is_dir():
        if not (path / IDENTITY_FILE).is_file():
            raise EngineError(USAGE, f"{path} holds no {IDENTITY_FILE}: it is not an engine folder", _WANTED)
        return ENGINE, path
    if not path.is_file():
        raise EngineError(USAGE, f"{path} is neither a file nor a folder", _WANTED)
    if path.name == IDENTITY_FILE or _named_by_sidecar(path):
        return ENGINE, path.parent
    return _file_kind(path), path


def _file_kind(path: Path) -> str:
    with path.open("rb") as stream:
        start = stream.read(len(_MAGIC))
    if not start:
        raise EngineError(USAGE, f"{path} is empty", _WANTED)
    suffix = path.suffix.lower()
    if start == _MAGIC or suffix in PLAN_SUFFIXES:
        return PLAN
    if suffix == ".onnx":
        return ONNX
    if suffix == ".json":
        return REPORT
    raise EngineError(USAGE, f"{path} is neither an engine, nor an ONNX file, nor a report", _WANTED)


def _named_by_sidecar(path: Path) -> bool:
    try:
        identity = from_json(EngineIdentity, (path.parent / IDENTITY_FILE).read_bytes())
    except (OSError, ContractError):
        return False
    return identity.engine_file == path.name
