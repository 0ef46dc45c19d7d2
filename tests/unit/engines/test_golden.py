from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from runtime.contract.engine.build import TensorSpec
from runtime.engines.errors import EngineError
from runtime.engines.golden.golden_data import Golden, load_golden, save_golden, stack
from tests.unit.engines.models import FRAME, frames

INPUT = TensorSpec("image", (1, *FRAME, 3), "uint8")


def test_what_is_saved_is_loaded(tmp_path: Path) -> None:
    path = tmp_path / "golden.npz"
    golden = Golden({"image": frames(3)}, {"scores": np.arange(1, 13, dtype=np.float16).reshape(3, 4)})
    save_golden(path, golden)
    loaded = load_golden(path, [INPUT], ["scores"])
    np.testing.assert_array_equal(loaded.frames["image"], golden.frames["image"])
    np.testing.assert_array_equal(loaded.expected["scores"], golden.expected["scores"])
    assert len(loaded) == 3
    assert loaded.expected_samples()[1]["scores"].tolist() == [5, 6, 7, 8]


def test_the_same_content_gives_the_same_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    image, scores = frames(2), np.ones((2, 4), "f4")
    save_golden(tmp_path / "a.npz", Golden({"image": image}, {"scores": scores}))
    monkeypatch.setattr("time.time", lambda: 2_000_000_000.0)
    save_golden(tmp_path / "b.npz", Golden({"image": np.asfortranarray(image)}, {"scores": scores}))
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()
    assert sorted(item.name for item in tmp_path.iterdir()) == ["a.npz", "b.npz"]


def test_expected_outputs_are_optional(tmp_path: Path) -> None:
    np.savez(tmp_path / "golden.npz", image=frames(2))
    assert load_golden(tmp_path / "golden.npz", [INPUT], ["scores"]).expected == {}


def test_frames_are_copied_into_the_buffer_in_place() -> None:
    golden = Golden({"image": frames(2)}, {})
    buffer = np.zeros((1, *FRAME, 3), np.uint8)
    golden.feed(1, [("image", buffer)])
    np.testing.assert_array_equal(buffer[0], golden.frames["image"][1])


def test_a_batch_of_one_is_dropped_when_frames_are_stacked() -> None:
    stacked = stack([{"a": np.ones((1, 2)), "b": np.ones((5, 2)), "c": np.float32(1)}] * 3)
    assert {name: array.shape for name, array in stacked.items()} == {"a": (3, 2), "b": (3, 5, 2), "c": (3,)}


GOOD = np.ones((2, 4), "f4")


@pytest.mark.parametrize(
    ("arrays", "said"),
    [
        ({"scores": GOOD}, "has no frames for input 'image'"),
        ({"image": frames(2).astype("f4")}, "has float32 [2, 24, 32, 3] for input 'image'"),
        ({"image": frames(2)[:, :8]}, "expected uint8 ['N', 24, 32, 3]"),
        ({"image": frames(0)}, "has uint8 [0, 24, 32, 3]"),
        ({"image": frames(2), "boxes": GOOD}, "holds 'boxes', which is not an input or output"),
        ({"image": frames(3), "scores": GOOD}, "different numbers of frames: {'image': 3, 'scores': 2}"),
        ({"image": frames(2), "scores": GOOD * 0}, "expects all zeros of output 'scores', frame 0"),
        ({"image": frames(2), "scores": GOOD * np.nan}, "not finite of output 'scores'"),
        ({"image": frames(2), "scores": np.array([None, 1])}, "is not an .npz file"),
    ],
)
def test_golden_data_that_does_not_fit_is_refused(arrays: dict[str, Any], said: str, tmp_path: Path) -> None:
    path = tmp_path / "golden.npz"
    np.savez(path, **arrays)
    with pytest.raises(EngineError) as caught:
        load_golden(path, [INPUT], ["scores"])
    assert caught.value.kind == "golden"
    assert said in caught.value.message
    assert caught.value.hint


def test_expected_values_for_some_outputs_only_are_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "golden.npz", image=frames(2), scores=GOOD)
    with pytest.raises(EngineError, match="some outputs, but not for 'boxes'"):
        load_golden(tmp_path / "golden.npz", [INPUT], ["scores", "boxes"])


@pytest.mark.parametrize("content", [None, b"", b"PK\x03\x04 cut", b"hello"])
def test_a_file_that_is_missing_or_broken_is_refused(content: bytes | None, tmp_path: Path) -> None:
    path = tmp_path / "golden.npz"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(EngineError, match=r"golden data golden\.npz is (missing|not an)"):
        load_golden(path, [INPUT], ["scores"])


def test_a_truncated_member_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "golden.npz"
    save_golden(path, Golden({"image": frames(2)}, {"scores": GOOD}))
    content = bytearray(path.read_bytes())
    content[60:90] = bytes(30)
    path.write_bytes(content)
    with pytest.raises(EngineError, match=r"is not an \.npz file"):
        load_golden(path, [INPUT], ["scores"])


@pytest.mark.parametrize(("values", "passes"), [([0, 3], True), ([0, 0], False)])
def test_a_zero_is_an_answer_of_one_number_where_other_frames_have_others(
    tmp_path: Path, values: list[int], passes: bool
) -> None:
    for dtype in (np.int64, np.float32):
        path = tmp_path / f"{np.dtype(dtype)}.npz"
        np.savez(path, x=np.ones((2, 4), "f4"), y=np.array(values, dtype).reshape(2, 1))
        if passes:
            assert len(load_golden(path, [TensorSpec("x", (1, 4))], ["y"])) == 2
        else:
            with pytest.raises(EngineError, match="all zeros"):
                load_golden(path, [TensorSpec("x", (1, 4))], ["y"])


def test_class_numbers_may_be_zero_where_another_output_found_something(tmp_path: Path) -> None:
    path = tmp_path / "golden.npz"
    scores = np.array([[0.9, 0.0], [0.0, 0.0]], "f4")
    for count, passes in ((1, True), (2, False)):
        np.savez(path, x=np.ones((count, 4), "f4"), classes=np.zeros((count, 2), "i4"), scores=scores[:count])
        if passes:
            assert len(load_golden(path, [TensorSpec("x", (1, 4))], ["classes", "scores"])) == 1
        else:
            with pytest.raises(EngineError, match="all zeros of output 'classes', frame 1"):
                load_golden(path, [TensorSpec("x", (1, 4))], ["classes", "scores"])
