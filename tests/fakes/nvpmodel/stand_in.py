"""Stands in for NVIDIA's nvpmodel: what it prints, when it asks, how it exits, as people recorded it.

Recorded by others, on Orin Nano, NX and Thor: the question and ``optMask is 1, no request for power mode`` (viam's
jetson module), ``bad input!`` at the end of input (two reports), exit code 234 (one report), ``--force`` rebooting at
once and ``Running in chroot, ignoring request.`` in a container (one report). Copied to a folder on PATH; its memory
is that folder: ``table`` (an nvpmodel.conf), ``mode``, ``booted`` (the mode of the last boot), ``habit``, ``calls``.
"""

from __future__ import annotations

import re
import sys
import time
from pathlib import Path

PLACE = Path(__file__).resolve().parent
REFUSED = 234


def sections() -> dict[str, tuple[str, tuple[str, ...]]]:
    """Return id → (name, what only a boot changes)."""
    found = {}
    for part in re.split(r"^(?=<)", (PLACE / "table").read_text(), flags=re.MULTILINE):
        head = re.match(r"< POWER_MODEL ID=(\d+) NAME=(\S+) >", part)
        if head:
            gates = re.findall(r"^(?:CPU_ONLINE|TPC_POWER_GATING|FBP_POWER_GATING) .*$", part, re.MULTILINE)
            found[head[1]] = (head[2], tuple(gates))
    return found


def query() -> int:
    modes = sections()
    name = (PLACE / "mode").read_text().strip()
    number = next((key for key, (known, _) in modes.items() if known == name), None)
    if number is None:
        print("NVPM ERROR: failed to read PMODE status!")
        return 1
    print("NVPM WARN: fan mode is not set!")
    print(f"NV Power Mode: {name}\n{number}")
    return 0


def change(number: str, force: bool, habit: str) -> int:
    modes = sections()
    if habit == "chroot":
        print("Running in chroot, ignoring request.")
        return 0
    if number not in modes:
        print(f"NVPM ERROR: invalid power model ID {number}")
        return REFUSED
    name, gates = modes[number]
    booted = (PLACE / "booted").read_text().strip()
    crossing = gates != next(boot for known, boot in modes.values() if known == booted)
    if force and crossing:
        (PLACE / "rebooted").touch()
        return 0
    if crossing or habit == "asks":
        print("NVPM WARN: Golden image context is already created")
        print(f"NVPM WARN: Reboot required for changing to this power mode: {number}")
        print("NVPM WARN: DO YOU WANT TO REBOOT NOW? enter YES/yes to confirm: ", flush=True)
        if sys.stdin.readline().strip() in ("yes", "YES"):
            (PLACE / "rebooted").touch()
            return 0
        print("NVPM ERROR: bad input!\nNVPM ERROR: optMask is 1, no request for power mode")
        return REFUSED
    if habit == "fails":
        print("NVPM ERROR: Error opening /sys/kernel/nvpmodel_clk_cap/emc: 2", file=sys.stderr)
        return REFUSED
    if habit != "lies":
        (PLACE / "mode").write_text(name)
    return 0


def main(arguments: list[str]) -> int:
    with (PLACE / "calls").open("a") as calls:
        calls.write(" ".join(arguments) + "\n")
    habit = (PLACE / "habit").read_text().strip()
    if habit == "hangs":
        time.sleep(600)
    if arguments == ["-q"]:
        return query()
    if arguments[:1] == ["-m"] and arguments[2:] in ([], ["--force"]):
        return change(arguments[1], arguments[2:] == ["--force"], habit)
    print("Usage: nvpmodel [-q] [-m ID]")
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
