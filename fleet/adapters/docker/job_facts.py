"""What an Engine says of a job's container, with ages by the Engine's own clock."""

from __future__ import annotations

import re
from datetime import datetime

import docker
import docker.errors

from fleet.ports import CREATED, ENDED, RUNNING, JobFacts

_TIME = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.\d+)?(Z|[+-]\d\d:\d\d)")
"""Go writes nanoseconds, which Python does not read."""


def job_facts(api: docker.APIClient, container: str, now: str) -> JobFacts | None:
    """Return the facts of one container, ``now`` being the Engine's time; None when it is gone meanwhile."""
    try:
        found = api.inspect_container(container)
    except docker.errors.NotFound:
        return None
    state = found["State"]
    status = RUNNING if state["Running"] else CREATED if state["Status"] == "created" else ENDED
    last = {CREATED: found["Created"], RUNNING: state["StartedAt"], ENDED: state["FinishedAt"]}[status]
    return JobFacts(
        name=str(found["Name"]).lstrip("/"),
        labels=dict(found["Config"].get("Labels") or {}),
        state=status,
        exit_code=int(state["ExitCode"]) if status == ENDED else None,
        since_s=max(0.0, seconds(now) - seconds(str(last))),
        image_id=str(found["Image"]),
        command=tuple(found["Config"].get("Cmd") or ()),
    )


def seconds(text: str) -> float:
    """Return Unix seconds of a time as Go writes it; 0 for one that cannot be read."""
    found = _TIME.match(text)
    if found is None:
        return 0.0
    return datetime.fromisoformat(found[1] + found[2].replace("Z", "+00:00")).timestamp()
