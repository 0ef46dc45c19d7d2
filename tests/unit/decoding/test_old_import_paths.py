"""Plugins that import from where the docs of the release before said: they work, with a warning that says where to."""

from __future__ import annotations

import importlib
import sys

import pytest

from tests.unit.executor.test_plugins import documented

MOVED = {
    "runtime.executor.decoders": "runtime.decoding.decoders",
    "runtime.executor.adapters": "runtime.executor.inputs.adapters",
    "runtime.executor.frames": "runtime.executor.inputs.frames",
}

NAMES = {
    "runtime.executor.decoders": (
        "Boxes", "Classes", "Mask", "Options", "OptionError", "Tensor", "Velocity", "View",
    ),
    "runtime.executor.adapters": ("Taken",),
    "runtime.executor.frames": ("FrameRefusedError", "Stamp"),
}  # fmt: skip
"""What plugins take from there."""


@pytest.mark.parametrize("old", MOVED)
def test_an_old_path_gives_the_same_objects_and_warns(old: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, old, raising=False)
    with pytest.warns(DeprecationWarning, match=f"{old} has moved: import from {MOVED[old]}"):
        moved = importlib.import_module(old)
    new = importlib.import_module(MOVED[old])
    for name in NAMES[old]:
        assert getattr(moved, name) is getattr(new, name)


@pytest.mark.parametrize(
    ("page", "marker", "made"), [("decoders.md", "class Horizon", "Horizon"), ("inputs.md", "class Sonar", "Sonar")]
)
def test_the_docs_examples_run_with_the_old_imports(
    page: str, marker: str, made: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    code = documented(page, marker)
    if "rclpy" in code:
        pytest.importorskip("rclpy")
        pytest.importorskip("sensor_msgs.msg")
    for old, new in MOVED.items():
        code = code.replace(f"from {new} import", f"from {old} import")
        monkeypatch.delitem(sys.modules, old, raising=False)
    assert any(f"from {old} import" in code for old in MOVED)
    names: dict[str, object] = {"__name__": "plugin"}
    with pytest.warns(DeprecationWarning, match="has moved: import from"):
        exec(code, names)
    kind = names[made]
    assert isinstance(kind, type)
    assert kind(*({},) if made == "Horizon" else ({}, (1, 1)))
