"""What a search knows, on disk: a process that is killed at any point loses one trial at most."""

from __future__ import annotations

import fcntl
import time
from pathlib import Path
from typing import IO

from runtime.contract.codec import ContractError, canonical_json, digest_of, from_json, to_dict
from runtime.contract.engine.tuning import STATE_FILE, Mix, TuneJob, TuneState
from runtime.contract.json_decoder import Limits
from runtime.engines.errors import EngineError
from runtime.engines.store import write_atomic

_LOCK_FILE, _LOOK_S = ".lock", 0.2
_STATE = Limits(size=1 << 26, values=1 << 21)


def mix_digest(mix: Mix) -> str:
    """Return what tells mixes apart, ``sha256:…``: precision and options, not what they are called."""
    return digest_of([mix.precision, to_dict(mix.options)])


def asked_digest(job: TuneJob, versions: dict[str, str], data: list[tuple[str, str]]) -> str:
    """Return the digest of all that decides what a search finds.

    ``data``: name and sha256 of golden and calibration files. How long to look is not in it.
    """
    jobs = {
        name: {**to_dict(each), "key": "", "bench_seconds": 0, "deadline_s": None} for name, each in job.jobs.items()
    }
    return digest_of({"jobs": jobs, "levels": list(job.levels), "versions": versions, "data": data})


def _locked(file: IO[str]) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


class StateFolder:
    """A folder with the state of one search, and the engines of its trials. One process at a time has it."""

    def __init__(self, folder: Path, *, wait_s: float = 30.0) -> None:
        """Lock the folder until the process ends. Raises EngineError ``usage`` when another one keeps it ``wait_s``.

        A search whose parent was killed ends with its next line of progress: that is what is waited for.
        """
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self._lock = (folder / _LOCK_FILE).open("w")
        end = time.monotonic() + wait_s
        while not _locked(self._lock):
            if time.monotonic() > end:
                raise EngineError(
                    "usage",
                    f"another search is using {folder}",
                    "wait until it has ended, or end it; its state stays",
                )
            time.sleep(_LOOK_S)

    def close(self) -> None:
        """Give the folder to others."""
        self._lock.close()

    def load(self, asked: str) -> tuple[TuneState, str]:
        """Return the state, and what is to be said of it: an empty one where there is none of this search."""
        path = self.folder / STATE_FILE
        if not path.is_file():
            return TuneState(asked), ""
        try:
            state = from_json(TuneState, path.read_bytes(), _STATE)
        except (ContractError, OSError) as error:
            return TuneState(asked), f"the state of an earlier search cannot be read, so it begins again: {error}"
        if state.asked != asked:
            return TuneState(asked), (
                "the state of an earlier search is of another model, gate, data or library version, so it begins again"
            )
        return state, ""

    def save(self, state: TuneState) -> None:
        """Write the state whole."""
        write_atomic(self.folder / STATE_FILE, canonical_json(state))

    def engine(self, mix: Mix) -> Path:
        """Return the folder of a mix's engine."""
        return self.folder / f"engine-{mix_digest(mix).removeprefix('sha256:')[:16]}"
