"""Tests of one `xdist_group` go to one worker: the scheduler reads a test's group in its id, after an ``@``."""

from __future__ import annotations

from collections.abc import Iterable

import pytest


def name_groups(items: Iterable[pytest.Item]) -> None:
    """Put every test's group into its id, on a worker, where pytest-xdist has not done so.

    pytest-xdist 3.8 sets ``_nodeid``, which pytest no longer reads from 9.2 on: marks were without effect, in silence.
    """
    for item in items:
        groups = {str(mark.args[0]) for mark in item.iter_markers("xdist_group")}
        suffix = f"@{'_'.join(sorted(groups))}"
        if groups and not item.nodeid.endswith(suffix):
            kept = getattr(item, "_id")  # noqa: B009  (mypy: older versions of pytest have none)
            setattr(item, "_id", type(kept).parse(item.nodeid + suffix))  # noqa: B010
            if not item.nodeid.endswith(suffix):
                raise pytest.UsageError(f"{item.nodeid} cannot be given its group {suffix}: see {__file__}")
