"""`fleet verify`: robots check themselves for real, and are held against the release that they should run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import typer
from rich.console import Console

from fleet.cli import complete, options
from fleet.cli.newest import newest_of, to_bring
from fleet.cli.ui.activity import activity
from fleet.cli.ui.console import conclude, many, remarks, table
from fleet.cli.ui.robots import CONNECT_S, each
from fleet.cli.wiring import Wiring
from fleet.errors import FleetError, OutsideError, RobotOffline, RobotsOffline, VerifyFailed
from fleet.link.robot import RobotClient
from fleet.oci.releases import PublishedRelease, find_release, load_release
from fleet.resolve.desired import DesiredRobot
from fleet.resolve.inventory import select
from fleet.rollout.verification import RELEASE, findings
from runtime.contract.node.attestation import Attestation
from runtime.contract.robot.newest import Newest
from runtime.contract.robot.release import ReleaseVariant
from runtime.contract.robot.trust import Signed
from runtime.contract.robot.verification import CHECKS, DEFAULT_SECONDS, MAX_SECONDS, Finding

Answer = Attestation | FleetError


@dataclass(frozen=True, slots=True)
class Row:
    """One robot: what was found, or why it could not be asked."""

    name: str
    answer: Answer
    release: str | None = None
    found: tuple[Finding, ...] = ()

    @property
    def passed(self) -> bool:
        """Every check passed; a robot that could not be asked proves nothing."""
        return bool(self.found) and all(finding.passed for finding in self.found)


def run(
    version: Annotated[
        str | None,
        typer.Argument(
            help="A published version. Default: what each robot's own journal says it runs.",
            autocompletion=complete.versions,
        ),
    ] = None,
    manifest: options.ManifestOption = options.DEFAULT_MANIFEST,
    robots: options.Robots = None,
    seconds: Annotated[
        float, typer.Option("--seconds", min=1, max=MAX_SECONDS, help="How long each robot listens to its topics.")
    ] = DEFAULT_SECONDS,
    as_json: options.Json = False,
) -> None:
    """Have robots check themselves: engine files, sensors, models, inference, published results. Changes nothing."""
    wiring = Wiring(manifest)
    chosen = select(wiring.desired, robots)
    prefix = wiring.desired.registry.prefix
    wanted = load_release(wiring.registry, prefix, version) if version else None
    newest = to_bring(newest_of(wiring))
    with activity() as shown:
        answers = each(wiring, chosen, lambda robot: _ask(wiring, robot, seconds, newest), shown, "verifying")
    releases = _releases(wiring, prefix, wanted, answers)
    rows = [_row(robot, answers[robot.name], wanted, releases) for robot in chosen]
    document = {
        "fleet": wiring.desired.fleet,
        "passed": all(row.passed for row in rows),
        "robots": [_document(row) for row in rows],
    }
    conclude(as_json, document, lambda console: _render(console, rows), _error(rows))


def _ask(wiring: Wiring, robot: DesiredRobot, seconds: float, newest: tuple[Signed, Newest] | None) -> Answer:
    client = RobotClient(robot.address, wiring.shells, wiring.clock, connect_timeout_s=CONNECT_S, newest=newest)
    try:
        return client.verify(seconds)
    except FleetError as error:
        return error
    finally:
        client.close()


def _releases(
    wiring: Wiring, prefix: str, wanted: PublishedRelease | None, answers: Mapping[str, Answer]
) -> dict[str, PublishedRelease | None]:
    """Return the releases that robots say they run, by digest: one request each, however many robots."""
    if wanted is not None:
        return {}
    running = (answer.state.current for answer in answers.values() if isinstance(answer, Attestation))
    digests = sorted({current.release_digest for current in running if current is not None})
    return {digest: find_release(wiring.registry, prefix, digest) for digest in digests}


def _row(
    robot: DesiredRobot,
    answer: Answer,
    wanted: PublishedRelease | None,
    releases: Mapping[str, PublishedRelease | None],
) -> Row:
    if not isinstance(answer, Attestation):
        return Row(robot.name, answer)
    current = answer.state.current
    name = current.version if current is not None else None
    if wanted is not None:
        return _held_against(robot, answer, name, wanted, wanted.document.variant_of(robot.name))
    if current is None:
        return Row(robot.name, answer, None, (Finding(RELEASE, "", False, "no release runs: roll one out"),))
    release = releases.get(current.release_digest)
    if release is None:
        said = f"the registry has no release {current.version} ({current.release_digest}) any more"
        return Row(robot.name, answer, name, (Finding(RELEASE, "", False, said),))
    variants = {variant.name: variant for variant in release.document.variants}
    return _held_against(robot, answer, name, release, variants.get(current.variant))


def _held_against(
    robot: DesiredRobot,
    answer: Attestation,
    running: str | None,
    release: PublishedRelease,
    variant: ReleaseVariant | None,
) -> Row:
    if variant is None:
        said = f"release {release.version} has no variant for this robot"
        return Row(robot.name, answer, running, (Finding(RELEASE, "", False, said),))
    return Row(robot.name, answer, running, findings(answer, release.version, variant))


def _error(rows: Sequence[Row]) -> FleetError | None:
    """Return exit code 4 when a check failed, 3 when a robot could not be asked, 6 when robots were only offline."""
    failed = [row for row in rows if row.found and not row.passed]
    if failed:
        first = next(finding for finding in failed[0].found if not finding.passed)
        return VerifyFailed(
            f"{len(failed)} of {many(len(rows), 'robot')} failed: {failed[0].name}: {_title(first)}: {first.reason}",
            hint="`fleet logs ROBOT` shows its log; `fleet status` what it attests",
        )
    mute = [(row, row.answer) for row in rows if isinstance(row.answer, FleetError) and not _offline(row)]
    if mute:
        row, error = mute[0]
        return OutsideError(
            f"{len(mute)} of {many(len(rows), 'robot')} can't be asked: {row.name}: {error.words}", hint=error.hint
        )
    offline = [row.name for row in rows if _offline(row)]
    if offline:
        return RobotsOffline(
            f"{len(offline)} of {many(len(rows), 'robot')} are offline: {', '.join(offline[:10])}",
            hint="verify them when they are back",
        )
    return None


def _offline(row: Row) -> bool:
    return isinstance(row.answer, RobotOffline)


def _title(finding: Finding) -> str:
    return f"{finding.check} {finding.model}".strip()


def _document(row: Row) -> dict[str, Any]:
    answer = row.answer
    error = answer if isinstance(answer, FleetError) else None
    return {
        "name": row.name,
        "state": "offline" if _offline(row) else "unknown" if error else "passed" if row.passed else "failed",
        "passed": row.passed,
        "release": row.release,
        "image_digest": None if isinstance(answer, FleetError) else answer.running_image.rpartition("@")[2] or None,
        "checks": [
            {"name": each.check, "model": each.model or None, "passed": each.passed, "reason": each.reason}
            for each in row.found
        ],
        "error": None if error is None else error.words,
        "hint": None if error is None else error.hint or None,
    }


def _render(console: Console, rows: Sequence[Row]) -> None:
    known = (RELEASE, *CHECKS)
    others = dict.fromkeys(each.check for row in rows for each in row.found if each.check not in known)
    columns = (*known, *others)
    view = table("robot", "runs", *columns)
    for row in rows:
        cells = [_cell(row, check) for check in columns]
        view.add_row(row.name, "offline" if _offline(row) else row.release or "none", *cells)
    console.print(view)
    remarks(console, {row.name: _remark(row) for row in rows})


def _cell(row: Row, check: str) -> str:
    found = [finding for finding in row.found if finding.check == check]
    if not found:
        return "–"
    failed = sum(not finding.passed for finding in found)
    if not failed:
        return "[green]ok[/]"
    return "[red]FAILED[/]" if len(found) == 1 else f"[red]{failed} of {len(found)} FAILED[/]"


def _remark(row: Row) -> str:
    if isinstance(row.answer, FleetError):
        return row.answer.words
    return "; ".join(f"{_title(each)}: {each.reason}" for each in row.found if not each.passed)
