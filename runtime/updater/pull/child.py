"""The process that looks, reaches out or reports, once. What came of it is one JSON object on stdout."""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any, Dict, List, Optional

from runtime.contract.codec import from_dict, from_json
from runtime.contract.json_decoder import ContractError
from runtime.contract.node.attestation import Attestation
from runtime.contract.node.report import REPORT_LIMITS, Report
from runtime.contract.robot.desired import REPOSITORY, TAG
from runtime.contract.robot.desired_rules import DesiredRefused
from runtime.contract.robot.pull_settings import PULL, PullSettings
from runtime.updater.fetching.errors import Cannot, UpstreamError
from runtime.updater.pull.control import Control
from runtime.updater.pull.hub import Hub
from runtime.updater.pull.look import Look
from runtime.updater.robot.pull_file import read_pull_file
from runtime.updater.state.records import Mark
from runtime.updater.state.world import WorldError
from runtime.updater.transaction.preflight import Refused


def main(argv: Optional[List[str]] = None) -> int:
    """Do one thing; exit code 0 once its outcome is said."""
    options = _parser().parse_args(argv)
    try:
        settings = _settings(options.root)
        found = {"look": _look, "reach": _reach, "report": _report}[options.what](options, settings)
    except (DesiredRefused, Refused) as refused:
        found = {"refused": refused.reason, "hint": refused.hint}
    except (UpstreamError, WorldError) as error:
        found = {"failed": error.message, "hint": error.hint, "after_s": getattr(error, "after_s", 0.0)}
    except Cannot as error:
        found = {"failed": str(error), "hint": "see docs/pull.md"}
    except ContractError as error:
        found = {"failed": str(error), "hint": "run `fleet bootstrap` again"}
    except OSError as error:
        text = "cannot use {}: {}".format(error.filename or options.root, error.strerror or error)
        found = {"failed": text, "hint": "`sudo fleet-updater doctor` says what is wrong with this robot"}
    sys.stdout.write(json.dumps(found) + "\n")
    return 0


def _settings(root: Path) -> PullSettings:
    settings = read_pull_file(root)
    if settings is None:
        raise WorldError("this robot neither pulls nor reports: it has no pull.json", "run `fleet bootstrap`")
    return settings


def _look(options: argparse.Namespace, settings: PullSettings) -> Dict[str, Any]:
    now = from_dict(Mark, json.loads(options.now))
    return Look(options.root, settings, now, options.known, options.machine).run()


def _reach(options: argparse.Namespace, settings: PullSettings) -> Dict[str, Any]:
    """Ask the registry, else the hub, over a connection of its own: this process has none yet."""
    repository = "{}/{}".format(settings.prefix, REPOSITORY)
    try:
        Control(options.root, settings.registry, repository, options.machine).head(TAG, options.known)
        return {"reached": "registry"}
    except (UpstreamError, Cannot) as error:
        if not settings.hub or not Hub(settings.hub, settings.hub_ca).is_there():
            raise UpstreamError(getattr(error, "message", str(error)), transient=True) from error
    return {"reached": "hub"}


def _report(options: argparse.Namespace, settings: PullSettings) -> Dict[str, Any]:
    """Keep the report that comes as an attestation on stdin, and hand over what waits."""
    from runtime.updater.pull.host_key import HostKey
    from runtime.updater.pull.reports import ReportQueue, raise_when_not_taken

    key = HostKey(settings, options.machine)
    queue = ReportQueue(options.root / "state", key.public(), key.sign)
    given = sys.stdin.buffer.read()
    with queue.locked():
        if given:
            queue.add(_made(settings, from_json(Attestation, given, REPORT_LIMITS), float(options.at)))
        answer = queue.send(Hub(settings.hub, settings.hub_ca))
        raise_when_not_taken(answer)
        return {"sent": True, "waiting": len(queue.waiting()), "renumbered": queue.renumbered}


def _made(settings: PullSettings, attestation: Attestation, at: float) -> Report:
    pull = attestation.state.pull if settings.link == PULL else None
    attestation = replace(attestation, state=replace(attestation.state, pull=None))
    return Report(settings.fleet, settings.robot, 0, at, attestation, pull, settings.link)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="pull")
    parser.add_argument("what", choices=("look", "reach", "report"))
    parser.add_argument("--root", type=Path, required=True)
    parser.add_argument("--machine", type=Path, default=Path("/"))
    parser.add_argument("--known", default="")
    parser.add_argument("--now", default="")
    parser.add_argument("--at", default="0")
    return parser
