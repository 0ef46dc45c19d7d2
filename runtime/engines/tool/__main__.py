"""One verb of `fleet engine`, in a process of its own: what crashes here, or hangs in a driver, takes nobody along.

``python -m runtime.engines.tool VERB REQUEST ANSWER``; see :mod:`runtime.contract.engine.engine_tool`. Exit code 0 when
ANSWER was written, whatever it says.
"""

from __future__ import annotations

import importlib
import signal
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

from runtime.contract.codec import canonical_json, from_json, to_dict
from runtime.contract.engine.build import BuildFailure
from runtime.contract.engine.engine_tool import BENCH, BUILD, COMPARE, DOCUMENTS, INSPECT, JOB, RUN, TUNE, ToolAnswer
from runtime.engines.errors import EngineError

#: Verb → the module whose ``run(request, progress)`` answers it. Imported late: it may need packages that are missing.
_MODULES = {
    JOB: "runtime.engines.tool.build_job",
    BUILD: "runtime.engines.tool.build_onnx",
    INSPECT: "runtime.engines.tool.inspect",
    BENCH: "runtime.engines.tool.bench",
    RUN: "runtime.engines.tool.frames",
    COMPARE: "runtime.engines.tool.compare",
    TUNE: "runtime.engines.tool.tune",
}
_CORRUPT = "fetch it again, or build it again: fleet engine build"


def answer(verb: str, request: bytes, progress: Callable[[str], None]) -> ToolAnswer:
    """Do what is asked. Every failure but an interruption is an answer."""
    try:
        document: Any = from_json(DOCUMENTS[verb][0], request)
        found = importlib.import_module(_MODULES[verb]).run(document, progress)
    except EngineError as error:
        hint = _CORRUPT if error.kind == "corrupt" else error.hint
        return ToolAnswer(failure=BuildFailure(error.kind, error.message, hint, error.detail, error.sensitivity))
    except ImportError as error:
        return ToolAnswer(failure=_missing(error))
    except MemoryError:
        return ToolAnswer(failure=BuildFailure("memory", "out of memory", "stop what else runs"))
    except Exception as error:  # noqa: BLE001  (the boundary: what is not foreseen is reported whole, not lost)
        text = "".join(traceback.format_exception(error))
        hint = "this is a defect: report it with the output of the same command and --debug"
        return ToolAnswer(failure=BuildFailure("internal", f"{type(error).__name__}: {error}", hint, text))
    return ToolAnswer(result=to_dict(found))


def _missing(error: ImportError) -> BuildFailure:
    return BuildFailure(
        "unsupported",
        f"a package that engines need cannot be imported here: {error}",
        "install the distribution's `runtime` extra together with fleet, or run the verb in the profile's builder "
        "image",
    )


def _interrupt(_signal: int, _frame: FrameType | None) -> NoReturn:
    raise KeyboardInterrupt


def main(arguments: list[str]) -> int:
    """Entry point."""
    verb, request, target = arguments
    signal.signal(signal.SIGTERM, _interrupt)  # so that what a build started ends with it

    def progress(line: str) -> None:
        print(line, flush=True)

    try:
        found: Any = answer(verb, Path(request).read_bytes(), progress)
    except KeyboardInterrupt:
        return 130
    Path(target).write_bytes(canonical_json(found))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
