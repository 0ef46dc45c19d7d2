"""Tests on a real TensorRT. Where there is none they are skipped, each by its name, with the reason.

``JETFLEET_GPU_DIR`` names a folder in which engines and results are kept, so that several runs share them; without it
every run builds its own. ``JETFLEET_TACTIC_SOURCES`` names TensorRT's tactic sources for hosts without cuBLAS or cuDNN.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.gpu.site import Site


def _missing() -> str | None:
    try:
        import pycuda.driver as cuda
        import tensorrt  # noqa: F401

        cuda.init()
        return None if cuda.Device.count() else "no CUDA device"
    except Exception as error:  # noqa: BLE001  (ImportError, or what a driver that is not there raises)
        return f"{type(error).__name__}: {error}"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    ours = [item for item in items if here in item.path.parents]
    reason = _missing() if ours else None
    for item in ours:
        item.add_marker(pytest.mark.gpu)
        if reason is not None:
            item.add_marker(pytest.mark.skip(reason=f"needs an NVIDIA GPU with TensorRT ({reason})"))


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Site:
    kept = os.environ.get("JETFLEET_GPU_DIR")
    folder = Path(kept) if kept else tmp_path_factory.mktemp("gpu")
    folder.mkdir(parents=True, exist_ok=True)
    return Site(folder)
