"""Histograms of activations with a bound on their number of bins.

ONNX Runtime's collector keeps the width of the bins that the first frame gave it, and adds as many as a larger value
needs: a first frame that is ten thousand times dimmer than the next makes millions, and the search for a threshold over
them does not end.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from onnxruntime.quantization.calibrate import HistogramCollector

from runtime.engines.errors import EngineError

MOST_GROWTH = 8
"""Times the number of bins that a histogram begins with."""


class BoundedHistogram(HistogramCollector):  # type: ignore[misc]  # onnxruntime has no types
    """A collector that makes its bins wider instead of ever more of them."""

    def collect_value(self, name_to_arr: dict[str, Any]) -> None:
        """Collect signed values (entropy). Raises EngineError for values that are not finite."""
        _require_finite(name_to_arr)
        super().collect_value(name_to_arr)

    def merge_histogram(self, old_histogram: Any, data_arr: Any, new_min: Any, new_max: Any, new_threshold: Any) -> Any:
        """Add values to a histogram over -threshold to threshold."""
        hist, _, low, high, threshold = old_histogram
        if threshold > 0 and len(hist) * float(new_threshold) / float(threshold) > self.num_bins * MOST_GROWTH:
            edges = np.linspace(-float(new_threshold), float(new_threshold), len(hist) + 1).astype(new_threshold.dtype)
            old_histogram = (_rebinned(hist, old_histogram[1], edges), edges, low, high, new_threshold)
        return super().merge_histogram(old_histogram, data_arr, new_min, new_max, new_threshold)

    def collect_absolute_value(self, name_to_arr: dict[str, Any]) -> None:
        """Collect magnitudes (percentile). Raises EngineError for values that are not finite."""
        _require_finite(name_to_arr)
        for name, arrays in name_to_arr.items():
            known = self.histogram_dict.get(name)
            largest = max((float(np.max(np.abs(array))) for array in arrays if np.size(array)), default=0.0)
            if known is None:
                continue
            hist, edges, low, high = known
            span = float(edges[-1] - edges[0])
            if len(hist) * (largest - float(edges[0])) / span > self.num_bins * MOST_GROWTH:
                wider = np.linspace(0.0, largest, len(hist) + 1).astype(edges.dtype)
                self.histogram_dict[name] = (_rebinned(hist, edges, wider), wider, low, high)
        super().collect_absolute_value(name_to_arr)


def _rebinned(hist: npt.NDArray[Any], edges: npt.NDArray[Any], wider: npt.NDArray[Any]) -> npt.NDArray[np.int64]:
    """Return the counts of ``hist`` in the bins of ``wider``, each by the middle of its old bin."""
    middles = np.clip((edges[:-1] + edges[1:]) / 2.0, wider[0], wider[-1])
    counts, _ = np.histogram(middles, bins=wider, weights=hist)
    result: npt.NDArray[np.int64] = np.rint(counts).astype(np.int64)
    return result


def _require_finite(name_to_arr: dict[str, Any]) -> None:
    for name, arrays in name_to_arr.items():
        if not all(np.isfinite(array).all() for array in arrays):
            raise not_finite(name)


def not_finite(tensor: str) -> EngineError:
    """Return the error for a tensor that has no range."""
    return EngineError(
        "calibration",
        f"the model's tensor {tensor!r} is not finite on a calibration frame, so it has no int8 range",
        "leave the operators around it in float (int8.exclude_nodes), or find out what makes it infinite",
    )
