"""NonMaxSuppression in the graph, on a real GPU: as many rows as are found, frame after frame."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from runtime.engines.golden.selftest import self_test
from tests.gpu.site import backend, run_job
from tests.unit.engines.trt.test_found_outputs import BOXES, COUNT, SCORES, prepare, suppressing


def test_rows_are_counted_in_every_frame(tmp_path: Path) -> None:
    out = tmp_path / "out"
    report = run_job(prepare(tmp_path, suppressing(), {"x": SCORES}), out, backend())
    assert report.identity.outputs[0].shape == (-1, 4)
    runner = backend().load(out)
    try:
        for scores in (*SCORES, np.zeros(COUNT, np.float32), np.full(COUNT, 0.9, np.float32)):
            runner.inputs["x"][...] = scores[None]
            found = runner.infer()
            ids = found["found"][:, 2]
            assert sorted(ids.tolist()) == np.flatnonzero(scores > 0.5).tolist()
            np.testing.assert_allclose(found["y"], BOXES[0][ids])
        tested = self_test(runner, report.identity, out / "golden.npz")
        assert tested.passed, tested.message
    finally:
        runner.close()
