"""The `fleet` command: every verb, and the one boundary where errors become a sentence and an exit code."""

from __future__ import annotations

import errno
import sys
import traceback
from pathlib import Path
from typing import Annotated, Any

import typer

from fleet.cli.complete import as_bash_breaks_words
from fleet.cli.ui.already_shown import AlreadyShown
from fleet.cli.ui.process_exit import leave, take_signals
from fleet.cli.ui.streams import OutputLost, StdoutFailed, guard_streams, reader_gone
from fleet.cli.verbs import VERBS, LazyVerbs, Stopped, add_stubs
from fleet.errors import FleetError, OutsideError, UsageError
from runtime.contract.printable import printable_lines, unicode_text

app = typer.Typer(
    name="fleet",
    help="Make every robot run what the manifest says, prove it, and be able to go back.",
    cls=LazyVerbs,
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Exit codes: 0 done · 1 a defect in fleet · 2 manifest or usage · 3 something outside failed, or "
    "interrupted · 4 a gate said no, or robots were reverted · 5 another process holds the rollout lock · 6 robots "
    "were "
    "offline",
)
add_stubs(app)

INTERRUPTED = 3
LOOKING = {"validate", "plan", "status", "verify", "history", "diff", "logs", "docs", "engine"}
"""Verbs that change nothing anywhere, or nothing until they are done."""
_ROOM = "make room, or set TMPDIR (work files) and XDG_CACHE_HOME (wheels, models) to a disk that has some"
_RIGHTS = "check who owns it and whether the disk is mounted read-only"
OF_THIS_MACHINE = {
    errno.ENOSPC: _ROOM,
    errno.EDQUOT: _ROOM,
    errno.EACCES: _RIGHTS,
    errno.EPERM: _RIGHTS,
    errno.EROFS: _RIGHTS,
    errno.EMFILE: "too many files are open: raise the limit (ulimit -n 4096)",
}
"""What the operating system may refuse anywhere → what to do about it."""
TAKES_VALUE = {"-m", "--manifest", "--robots", "--timeout"}
"""Options that are followed by a value: of `exec`, and those that may stand before a verb."""
OF_EVERY_VERB = ("--json", "-m", "--manifest")
"""Options that may stand before the verb as well as after it."""

#: The base of what the command-line parser raises. Typer carries its own copy of click since 0.20, so the class is
#: found through the one that Typer exports.
USAGE_ERROR: Any = next(cls for cls in typer.BadParameter.__mro__ if cls.__name__ == "ClickException")


class Interrupted(FleetError):
    """Ctrl-C, or SIGTERM from a CI system."""

    exit_code = INTERRUPTED


def _print_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        typer.echo(f"fleet {version('jetfleet')}")
        raise typer.Exit


@app.callback()
def _options(
    _version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
    _debug: Annotated[
        bool, typer.Option("--debug", help="Add the traceback to an error. May stand after the verb too.")
    ] = False,
    _json: Annotated[
        bool, typer.Option("--json", help="One JSON document on stdout, nothing else. May stand after the verb too.")
    ] = False,
    _manifest: Annotated[
        Path | None, typer.Option("-m", "--manifest", help="The manifest. May stand after the verb too.")
    ] = None,
) -> None:
    pass


def main() -> None:
    """Run the command line and exit with the code of DESIGN §7."""
    take_signals()
    guard_streams()
    own = own_arguments(sys.argv[1:])
    try:
        with as_bash_breaks_words():
            code = run(sys.argv[1:], as_json="--json" in own, debug="--debug" in own)
    except SystemExit:
        if not reader_gone():
            raise
        code = 0  # `fleet --help | head`, where Typer would end with 1
    leave(code, lambda failure: _tell(OutputLost(failure), as_json=False))


def run(arguments: list[str], *, as_json: bool = False, debug: bool = False) -> int:
    """Run one command line in this process and return its exit code. Never raises."""
    try:
        _check_text(arguments)
        result = app(args=in_place(arguments), prog_name="fleet", standalone_mode=False)
        return result if isinstance(result, int) else 0
    except AlreadyShown as told:
        return _tell(told.error, as_json=False)
    except FleetError as error:
        if debug:
            _print_traceback()
        return _tell(error, as_json)
    except USAGE_ERROR as error:
        return _usage(error, as_json)
    except typer.Abort:  # At the one question that there is.
        sys.stderr.write("\n")
        return _tell(Interrupted("interrupted", hint="nothing was changed"), as_json)
    except (Stopped, KeyboardInterrupt):
        return _tell(Interrupted("interrupted", hint=_after_interruption(arguments)), as_json)
    except OSError as error:
        return _machine(error, as_json, debug)
    except Exception as error:  # noqa: BLE001  (the last line of defence: a defect of ours, told as one)
        return _defect(error, as_json, debug)


def _check_text(arguments: list[str]) -> None:
    """Refuse what no document can hold: a reason would get lost on its way to the robots and to the history."""
    for argument in arguments:
        if argument != unicode_text(argument):
            raise UsageError(
                f"the argument {unicode_text(argument)[:80]!r} is not UTF-8", hint="type it again in a UTF-8 terminal"
            )


def _print_traceback() -> None:
    sys.stderr.write(printable_lines(traceback.format_exc()))


def own_arguments(arguments: list[str]) -> list[str]:
    """Return the arguments that are ours: those before ``--``, and of `exec` those before the robots' command."""
    own = arguments[: arguments.index("--")] if "--" in arguments else arguments
    verb = _verb_at(own)
    if own[verb : verb + 1] != ["exec"]:
        return own
    at = verb + 1
    while at < len(own) and own[at].startswith("-"):
        at += 2 if own[at] in TAKES_VALUE else 1
    return own[:at]


def _verb_at(own: list[str]) -> int:
    """Return where the verb stands: the first argument that is no option and no option's value."""
    at = 0
    while at < len(own) and own[at].startswith("-"):
        at += 2 if own[at] in TAKES_VALUE else 1
    return min(at, len(own))


def in_place(arguments: list[str]) -> list[str]:
    """Return the arguments as the parser takes them.

    ``--debug`` is taken out wherever it is ours; what every verb has (``--json``, ``-m``) may stand before the verb.
    """
    ours = own_arguments(arguments)
    own = [argument for argument in ours if argument != "--debug"]
    at, first, moved = 0, list[str](), list[str]()
    verb = _verb_at(own)
    while at < verb:
        width = 2 if own[at] in TAKES_VALUE else 1
        (moved if own[at].startswith(OF_EVERY_VERB) else first).extend(own[at : at + width])
        at += width
    if verb == len(own):  # no verb: what is wrong with that is the parser's to say
        return own + arguments[len(ours) :]
    return first + own[verb:] + moved + arguments[len(ours) :]


def _tell(error: FleetError, as_json: bool) -> int:
    from fleet.cli.ui.console import show_error

    show_error(error, as_json)
    return error.exit_code


def _usage(error: Any, as_json: bool) -> int:
    """Tell a wrong command line like every other error; without any arguments the help is the answer."""
    if type(error).__name__ == "NoArgsIsHelpError":
        error.show()
        return int(error.exit_code)
    path = error.ctx.command_path if getattr(error, "ctx", None) else "fleet"
    return _tell(UsageError(error.format_message(), hint=f"{path} --help"), as_json)


def _after_interruption(arguments: list[str]) -> str:
    verb = next((argument for argument in own_arguments(arguments) if argument in VERBS), "")
    if verb in LOOKING:
        return "nothing was changed"
    if verb == "exec":
        return "commands on robots were stopped"
    return "run the same command again: it continues from what is done"


def _machine(error: OSError, as_json: bool, debug: bool) -> int:
    """Tell what this machine lacks: a full disk is no defect of ours."""
    if isinstance(error, StdoutFailed):
        return _tell(OutputLost(error), as_json=False)
    hint = OF_THIS_MACHINE.get(error.errno or 0)
    if hint is None:
        return _defect(error, as_json, debug)
    if debug:
        _print_traceback()
    where = f": {error.filename}" if error.filename else ""
    return _tell(OutsideError(f"this machine: {(error.strerror or str(error)).lower()}{where}", hint=hint), as_json)


def _defect(error: Exception, as_json: bool, debug: bool) -> int:
    if debug:
        _print_traceback()
    where = traceback.extract_tb(error.__traceback__)[-1]
    message = f"defect in fleet: {type(error).__name__}: {error} ({where.name}, {where.filename}:{where.lineno})"
    return _tell(FleetError(message, hint="please report it with the output of the same command and --debug"), as_json)


if __name__ == "__main__":
    main()
