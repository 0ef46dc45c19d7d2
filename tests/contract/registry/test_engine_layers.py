"""What `fleet` publishes an engine's layer as, a robot finds again from the files alone."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from fleet.publish.layers import engine_layer
from runtime.contract.codec import canonical_json
from runtime.engines.errors import EngineError
from runtime.engines.layer_digest import layer_digest
from tests.fakes.nodes.runtime_folder import write_engine


@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_both_sides_name_an_engine_s_bytes_alike(tmp_path: Path, precision: str) -> None:
    folder = tmp_path / "signs"
    identity = replace(write_engine(folder), precision=precision)
    (folder / "engine.json").write_bytes(canonical_json(identity))
    (folder / "beside.txt").write_text("no part of the layer")
    assert layer_digest(folder) == engine_layer(folder, "signs").digest


def test_a_folder_that_is_not_whole_has_none(tmp_path: Path) -> None:
    write_engine(tmp_path / "signs")
    (tmp_path / "signs" / "golden.npz").unlink()
    with pytest.raises(EngineError, match="cannot be read"):
        layer_digest(tmp_path / "signs")
