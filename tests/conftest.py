"""For all tests: the lab's code is importable, Ctrl-C is what it is in a terminal, and tests are handed out by tier."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.harness import tiers
from tests.harness.groups import name_groups
from tests.harness.left_out import LeftOut
from tests.harness.report import TierReport

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "compose" / "lab"))

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # Of a background job; children would inherit it.
    signal.signal(signal.SIGINT, signal.default_int_handler)
if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:  # Of nohup.
    signal.signal(signal.SIGHUP, signal.SIG_DFL)


def _keep_bytecode() -> None:
    """Let this process and all that tests start keep compiled modules in one folder outside of the code's own.

    A suite starts thousands of interpreters; compiling the same modules again in each takes more than all unit tests.
    """
    folder = os.environ.setdefault("PYTHONPYCACHEPREFIX", str(ROOT / ".lab" / "pycache"))
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    sys.pycache_prefix, sys.dont_write_bytecode = folder, False


_keep_bytecode()


def pytest_configure(config: pytest.Config) -> None:
    config.pluginmanager.register(LeftOut(config), "jetfleet-left-out")
    if not hasattr(config, "workerinput"):  # Only the process that prints adds up; workers of xdist only run.
        config.pluginmanager.register(TierReport(), "jetfleet-tier-report")


@pytest.hookimpl(optionalhook=True)  # pytest-xdist may be missing, as on a GPU host
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Hand out tests by tier; another ``--dist`` than loadgroup is left as asked."""
    if config.getoption("dist") != "loadgroup":
        return None
    from tests.harness.schedule import TierScheduling

    return TierScheduling(config, log)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Put what waits longest first; within a tier the order stays. On a worker, name the tests' groups."""
    items.sort(key=lambda item: tiers.begins(item.nodeid))
    if getattr(config.option, "loadgroup", False):
        name_groups(items)
