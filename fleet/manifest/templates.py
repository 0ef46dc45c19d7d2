"""Values that differ from robot to robot, written once: jinja2 in ``environment``, in its sandbox, nothing undefined.

A value with ``{{`` or ``{%`` is a template of ``robot`` (name, host, group, profile), ``labels`` and ``variables``. The
release's version is not among them: it would restart every container with every release.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

MOST_CHARACTERS = 4096
_ONE_LINE = re.compile(r"[^\x00-\x1f\x7f]*")


class TemplateProblem(Exception):
    """A template that gives no value. ``message`` follows the variable's name; ``hint`` says what to do."""

    def __init__(self, message: str, hint: str) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


def is_template(value: str) -> bool:
    """Say whether a value is rendered."""
    return "{{" in value or "{%" in value or "{#" in value


def rendered(
    environment: Mapping[str, str],
    *,
    robot: Mapping[str, Any],
    labels: Mapping[str, str],
    variables: Mapping[str, str],
) -> dict[str, str]:
    """Return the environment of one robot. Raises TemplateProblem, which names the first variable that has no value."""
    return {
        name: render(name, value, robot=robot, labels=labels, variables=variables) if is_template(value) else value
        for name, value in environment.items()
    }


def render(
    name: str, value: str, *, robot: Mapping[str, Any], labels: Mapping[str, str], variables: Mapping[str, str]
) -> str:
    """Return one value. Raises TemplateProblem."""
    from jinja2 import TemplateError
    from jinja2.exceptions import SecurityError

    from fleet.manifest.sandbox import template

    try:
        text = template(value).render(robot=robot, labels=labels, variables=variables)
    except SecurityError as error:
        raise TemplateProblem(f"{name} may not do that: {error}", "compute it elsewhere and write the value") from error
    except (TemplateError, ArithmeticError, TypeError, ValueError, RecursionError, AttributeError) as error:
        known = f"known: robot.{', robot.'.join(robot)}; labels: {_list(labels)}; variables: {_list(variables)}"
        raise TemplateProblem(f"{name} has no value on {robot['name']}: {_said(error)}", known) from error
    if len(text) > MOST_CHARACTERS or not _ONE_LINE.fullmatch(text):
        raise TemplateProblem(f"{name} on {robot['name']} is no line of text", "one line of at most 4096 characters")
    return text


def _list(values: Mapping[str, str]) -> str:
    return ", ".join(sorted(values)) or "none"


def _said(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:200]
