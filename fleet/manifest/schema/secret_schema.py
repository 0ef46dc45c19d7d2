"""Secrets of robots: the manifest says where a robot finds one, and never what it is."""

from __future__ import annotations

from typing import Annotated

from pydantic import StringConstraints, model_validator

from fleet.manifest.schema.values import Frozen, Text


class RobotSecret(Frozen):
    """One value of the runtime container's environment, found on the robot when its release is written there."""

    file: Annotated[str, StringConstraints(pattern=r"^/[^\x00-\x1f\x7f]{1,400}$")] | None = None
    """Absolute path on the robot; its first line."""
    command: Annotated[str, StringConstraints(pattern=r"^[^\x00-\x1f\x7f]{1,400}$")] | None = None
    """Run on the robot as root, without a shell; the first line that it prints."""
    age: Text | None = None
    """A file that `age` encrypted to the robot's SSH host key, relative to fleet.yaml; the robot needs the program."""

    @model_validator(mode="after")
    def _one(self) -> RobotSecret:
        if sum(each is not None for each in (self.file, self.command, self.age)) != 1:
            raise ValueError("a secret is found in one place: give file, command or age")
        return self
