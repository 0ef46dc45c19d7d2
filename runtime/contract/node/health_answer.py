"""What an agent answered when it was asked for its report: parsed once, where the answer arrives."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Optional

from runtime.contract.codec import ContractError, from_json
from runtime.contract.json_decoder import WORDS
from runtime.contract.node.health import HealthReport
from runtime.contract.printable import printable


@dataclass(frozen=True)
class HealthAnswer:
    """A report, or why there is none."""

    report: Optional[HealthReport] = None
    error: str = ""
    """Why there is no report; empty when there is one."""
    answered: bool = False
    """The agent said something, be it a report that cannot be read. False: it is silent, perhaps only busy."""


def read_health(text: str) -> HealthAnswer:
    """Parse the agent's answer within the limits for words of a container; every string is made printable.

    ``text``: as the agent gave it. Never raises.
    """
    try:
        return HealthAnswer(from_json(HealthReport, text, WORDS, printable), answered=True)
    except ContractError as wrong:
        return HealthAnswer(error="the health report cannot be read: {}".format(wrong), answered=True)
