"""`registry` of the manifest: where the registry is, who vouches for it, and how robots log in."""

from __future__ import annotations

import shlex
from typing import Annotated

from pydantic import AfterValidator, StringConstraints, model_validator

from fleet.manifest.schema.values import Frozen, Text, VariableName

MAX_REPOSITORY = 255 - len("/releases")
"""Characters of the prefix: distribution takes names of at most 255, host included."""


def _command(value: str) -> str:
    try:
        words = shlex.split(value)
    except ValueError as error:
        raise ValueError(
            f"the command cannot be read ({error}): write it as for a shell, with its quotes closed"
        ) from error
    if not words:
        raise ValueError("the command is empty: write the program that prints the secret, and its arguments")
    return value


class Secret(Frozen):
    """Where a secret is found when it is needed; never the secret itself. Exactly one of the three."""

    command: Annotated[Text, AfterValidator(_command)] | None = None
    """Run on the operator's machine without a shell; the first line that it prints."""
    file: Text | None = None
    """On the operator's machine: relative to fleet.yaml, ``~`` is the operator's home; its first line."""
    env: VariableName | None = None
    """A variable of the operator's environment, or CI's."""

    @model_validator(mode="after")
    def _one(self) -> Secret:
        if sum(each is not None for each in (self.command, self.file, self.env)) != 1:
            raise ValueError("a secret is in one place: give one of command, file and env")
        return self


class RobotsLogin(Frozen):
    """Who robots are at the registry: an account that may only pull."""

    username: Annotated[str, StringConstraints(pattern=r"^[^\x00-\x20\x7f:]+$")] | None = None
    password: Secret | None = None
    helper: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")] | None = None
    """In place of both: ``docker-credential-<helper>`` on the robot, as clouds have it (``ecr-login``)."""

    @model_validator(mode="after")
    def _whole(self) -> RobotsLogin:
        if self.helper is not None and (self.username is not None or self.password is not None):
            raise ValueError("a helper provides user and password: give helper, or username and password")
        if self.helper is None and (self.username is None or self.password is None):
            raise ValueError("a login has a user and a password: give both username and password, or helper")
        return self


def _address(value: str) -> str:
    prefix = value.partition("/")[2]
    if len(prefix) > MAX_REPOSITORY:
        raise ValueError(f"the repository {prefix[:40]}… has {len(prefix)} characters: at most {MAX_REPOSITORY}")
    return value


class RegistryRef(Frozen):
    """The OCI registry and the repository prefix below it."""

    address: Annotated[
        str,
        StringConstraints(pattern=r"^([A-Za-z0-9.-]+|\[[0-9A-Fa-f:.]+\])(:\d+)?/[a-z0-9]+([._/-][a-z0-9]+)*$"),
        AfterValidator(_address),
    ]
    """``registry.example:5000/warehouse``."""
    plain_http: bool = False
    ca_file: Text | None = None
    """PEM bundle of the registry's authority, relative to fleet.yaml; added to the machine's, here and on robots."""
    robots: RobotsLogin | None = None
    """What `fleet bootstrap` brings; without it robots log in as their own Docker is logged in."""

    @property
    def host(self) -> str:
        """``registry.example:5000``."""
        return self.address.partition("/")[0]

    @property
    def prefix(self) -> str:
        """``warehouse``."""
        return self.address.partition("/")[2]
