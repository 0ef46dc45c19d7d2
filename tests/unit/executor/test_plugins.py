"""Decoders of somebody's own: installed as a package is, found by entry point, held to what they declare."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from runtime.decoding.decoders import Classes, OptionError, Velocity, View, decoder_named, result_of

ROOT = Path(__file__).parents[3]
VIEW = View(4, 4)
HEAD = "from runtime.decoding.decoders import Classes, Velocity\n"

BOUNDS = {"max_linear": 1.0, "max_angular": 1.0, "max_linear_acceleration": 1.0, "max_angular_acceleration": 1.0}

Install = Callable[..., None]


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Install:
    """Install a package of one module: its files and its dist-info, as pip leaves them."""
    monkeypatch.syspath_prepend(str(tmp_path))

    def write(module: str, code: str, **entries: str) -> None:
        (tmp_path / f"{module}.py").write_text(code)
        info = tmp_path / f"{module}-1.2.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {module}\nVersion: 1.2\n")
        points = "".join(f"{name} = {value}\n" for name, value in entries.items())
        (info / "entry_points.txt").write_text(f"[jetfleet.decoders]\n{points}")
        monkeypatch.delitem(sys.modules, module, raising=False)

    return write


def documented(page: str, marker: str) -> str:
    """Return the code block of a page that contains ``marker``."""
    text = (ROOT / "docs" / page).read_text(encoding="utf-8")
    return next(block for block in re.findall(r"```\w*\n(.*?)```", text, re.DOTALL) if marker in block)


def test_the_example_of_the_docs_installs_and_runs(install: Install) -> None:
    code = documented("decoders.md", "class Horizon")
    entry = re.search(r'^horizon = "acme_vision:(\w+)"$', documented("decoders.md", "jetfleet.decoders"), re.MULTILINE)
    assert entry is not None
    install("acme_vision", code, horizon=f"acme_vision:{entry[1]}")
    assert result_of("acme_vision:horizon") is Classes
    decode = decoder_named("acme-vision:horizon", {"threshold": 0.5})  # the package's name as pip spells it
    result = decode(np.array([[0.25, 0.75]], np.float32), VIEW)
    assert isinstance(result, Classes)
    assert (result.ids.tolist(), result.labels) == ([1], ("tilted",))
    with pytest.raises(OptionError, match=r"horizon has no option 'treshold'"):
        decoder_named("acme_vision:horizon", {"treshold": 0.5})


def test_a_package_that_is_not_there() -> None:
    with pytest.raises(OptionError, match="the package 'nobody' is not installed: install it in the runtime image"):
        decoder_named("nobody:lanes", {})


@pytest.mark.parametrize(
    ("code", "entry", "message"),
    [
        ("", "other", r"'broken' 1.2 has no entry point 'lanes' in jetfleet.decoders: it offers other"),
        ("import missing_for_sure\n", "lanes", "broken:Lanes cannot be imported: ModuleNotFoundError"),
        (
            "class Lanes: pass\n",
            "lanes",
            "does not say what it returns: give the class `result`, one of Boxes, Classes",
        ),
        (
            HEAD + "class Lanes:\n    result = Classes\n    def __init__(self, o): o['x']\n",
            "lanes",
            "refuses its options",
        ),
        (HEAD + "class Lanes:\n    result = Classes\n    def __init__(self, o): ...\n", "lanes", "cannot be called"),
    ],
)
def test_a_package_that_cannot_be_used(install: Install, code: str, entry: str, message: str) -> None:
    install("broken", code, **{entry: "broken:Lanes"})
    with pytest.raises(OptionError, match=message):
        decoder_named("broken:lanes", {})


def loose(install: Install, body: str, options: dict[str, Any] | None = None) -> Any:
    code = f"{HEAD}class Lanes:\n    result = Velocity\n    def __init__(self, options): self.options = dict(options)\n"
    install("loose", f"{code}    def __call__(self, tensor, view):\n        {body}\n", lanes="loose:Lanes")
    return decoder_named("loose:lanes", {**BOUNDS, **(options or {})})


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("return {}['x']", "decoder loose:lanes: KeyError: 'x'"),
        (
            "return Velocity((1, 2), (0, 0, 0))",
            "decoder loose:lanes returned a Velocity that is not valid: not enough values",
        ),
        ("return None", "decoder loose:lanes returned NoneType, it declares Velocity"),
    ],
)
def test_its_defects_are_errors_of_a_frame(install: Install, body: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        loose(install, body)(np.zeros(2), VIEW)


def test_an_output_of_several_tensors_gives_them_by_their_roles(install: Install) -> None:
    decode = loose(install, "return Velocity((float(tensor['a'][0]), float(tensor['b'][0]), 0.0), (0.0, 0.0, 0.0))")
    assert decode({"a": np.array([1.0]), "b": np.array([2.0])}, VIEW) == Velocity((1.0, 2.0, 0.0), (0.0, 0.0, 0.0))


def test_the_bounds_of_a_velocity_are_not_the_decoders_options(install: Install) -> None:
    body = "return Velocity((float(len(self.options)), 0.0, 0.0), (0.0, 0.0, 0.0))"
    decode = loose(install, body, {"deadline": "300ms", "gain": 2.0})
    assert decode(np.zeros(2), VIEW) == Velocity((1.0, 0.0, 0.0), (0.0, 0.0, 0.0))
    with pytest.raises(OptionError, match="velocity of loose:lanes needs max_linear: give a number from 0 to 50 m/s"):
        decoder_named("loose:lanes", {})
