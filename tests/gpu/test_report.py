"""Prints what the other tests built, as the table that goes into benchmarks/results."""

from __future__ import annotations

import json
import os
from typing import Any

from runtime.contract.codec import from_json
from runtime.contract.engine.build import REPORT_FILE, EngineReport
from runtime.engines.errors import EngineError
from tests.gpu.site import PRECISIONS, Site, backend
from tests.gpu.test_builds import BIG


def test_latency_alone_on_the_gpu(site: Site) -> None:
    """Measured here once more, one engine at a time, because builds may have run side by side.

    ``JETFLEET_GPU_BUILT_ONLY``: of the engines that are in ``JETFLEET_GPU_DIR`` already; nothing is built.
    """
    from runtime.engines.tensorrt_.run.latency import breakdown, host_percentiles

    table: dict[str, Any] = {}
    only_built = bool(os.environ.get("JETFLEET_GPU_BUILT_ONLY"))
    for network in BIG:
        for precision in PRECISIONS:
            if only_built and not (site.out(network, precision, "cold") / REPORT_FILE).is_file():
                continue
            try:
                folder, report = site.engine(network, precision)
            except EngineError as error:
                table[f"{network} {precision}"] = {"failed": str(error)}
                continue
            loaded = backend().load(folder)
            parts = breakdown(loaded, 2.0)
            host = host_percentiles(loaded, 1.5)
            loaded.close()
            recorded = backend().load(folder, cuda_graph=True)
            graph = host_percentiles(recorded, 0.8)
            recorded.close()
            assert 0 < host.p50 < 50
            table[f"{network} {precision}"] = {
                **_row(site, network, precision, report),
                "h2d": parts["h2d_ms"]["p50"],
                "compute": parts["compute_ms"]["p50"],
                "d2h": parts["d2h_ms"]["p50"],
                "host": [host.p50, host.p90, host.p99],
                "variation": parts["compute_variation"],
                "graph_host": graph.p50,
            }
            print("ROW", f"{network} {precision}", json.dumps(table[f"{network} {precision}"]), flush=True)
    (site.folder / "table.json").write_text(json.dumps(table, indent=1))
    assert any("host" in row for row in table.values())


def _row(site: Site, network: str, precision: str, report: EngineReport) -> dict[str, Any]:
    warm = site.out(network, precision, "warm") / REPORT_FILE
    again = from_json(EngineReport, warm.read_bytes()).extra["tensorrt_seconds"] if warm.is_file() else None
    return {
        "cold_s": report.extra["tensorrt_seconds"],
        "warm_s": again,
        "bytes": report.identity.engine_bytes,
        "main": report.extra["main_layer_precisions"],
        "all": report.layer_precisions,
        "cosine": min(item.min_cosine for item in report.accuracy),
        "error": max(item.max_abs_error for item in report.accuracy),
        "versions": report.versions,
        "device": report.identity.device.__dict__,
        "gpu": report.extra["gpu"],
    }
