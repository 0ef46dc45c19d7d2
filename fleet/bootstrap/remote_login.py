"""Takes root's rights from the login that operators use. Sent to the robot and run there as root by `remote_python`.

Stdlib and Python 3.8 only, imported by nothing. The one argument is JSON: ``user``, ``group`` (whose members may ask
the updater), ``socket``, ``state`` (paths), ``etc`` (folder), and ``do``: ``look`` changes nothing, ``join`` puts the
user into the group, ``drop`` takes the user out of the groups that are root, and puts aside the sudoers files that are
only about the user. Prints one JSON object: ``changed``, ``rights`` (what still makes the user root, or nothing) and
``console`` (who else can become root at the robot's console). A refusal goes to stderr with exit code 3.
"""

from __future__ import annotations

import grp
import json
import os
import pwd
import re
import subprocess
import sys
from pathlib import Path
from typing import Any, Dict, List, NoReturn  # noqa: UP035

ROOT_GROUPS = ("sudo", "wheel", "admin", "docker", "lxd", "libvirt", "disk", "shadow")
"""Groups whose members are root, or can make themselves so."""
SUDO_GROUPS = ("sudo", "wheel", "admin")
ASIDE = ".jetfleet-aside"
"""sudo passes over files with a dot in their name; whoever wants the rule back renames the file."""


def main(p: Dict[str, Any]) -> Dict[str, Any]:  # noqa: UP006
    """Do what ``do`` says; return what was found, and what there is now."""
    user, etc, changed = p["user"], Path(p["etc"]), False
    if pwd.getpwnam(user).pw_uid == 0:
        refuse(f"{user} is root itself: give the manifest another user")
    console = who_else(user, etc)
    if p["do"] in ("join", "drop"):
        changed = join(user, p["group"], [Path(p["socket"]), Path(p["state"])])
    if p["do"] == "drop":
        if not console:
            refuse(no_way_back(user))
        changed |= drop(user, etc)
    return {"changed": changed, "rights": rights_of(user, etc), "console": console}


def no_way_back(user: str) -> str:
    """Say why nothing is taken away."""
    return f"only {user} could become root at its console: no other account with sudo, and root has no password"


def who_else(user: str, etc: Path) -> List[str]:  # noqa: UP006
    """Return the accounts with a password that are root, or may become it by sudo, without ``user``."""
    usable = set()
    for line in (etc / "shadow").read_text(encoding="utf-8", errors="replace").splitlines():
        name, secret = [*line.split(":"), ""][:2]
        if secret and secret[0] not in "!*":
            usable.add(name)
    admins = {name for group in grp.getgrall() if group.gr_name in SUDO_GROUPS for name in group.gr_mem}
    admins |= {each.pw_name for each in pwd.getpwall() if each.pw_uid == 0}
    return sorted((admins & usable) - {user})


def join(user: str, group: str, paths: List[Path]) -> bool:  # noqa: UP006
    """Put the user into the group, which is made where it is not there, and hand it the updater's socket."""
    changed = False
    try:
        gid = grp.getgrnam(group).gr_gid
    except KeyError:
        call("groupadd", "--system", group)
        gid, changed = grp.getgrnam(group).gr_gid, True
    if user not in grp.getgrgid(gid).gr_mem:
        call("usermod", "--append", "--groups", group, user)
        changed = True
    for path in paths:
        if path.exists() and path.stat().st_gid != gid:
            os.chown(str(path), -1, gid)
            changed = True
    return changed


def drop(user: str, etc: Path) -> bool:
    """Take the user out of the groups, and the user's own sudoers files aside."""
    changed = False
    for group in grp.getgrall():
        if group.gr_name in ROOT_GROUPS and user in group.gr_mem:
            call("gpasswd", "--delete", user, group.gr_name)
            changed = True
    for path in own_rules(user, etc):
        path.rename(path.with_name(path.name + ASIDE))
        changed = True
    return changed


def own_rules(user: str, etc: Path) -> List[Path]:  # noqa: UP006
    """Return the files that sudo reads and that are about this user alone."""
    folder = etc / "sudoers.d"
    if not folder.is_dir():
        return []
    found = []
    for path in sorted(folder.iterdir()):
        if "." in path.name or path.name.endswith("~") or not path.is_file():
            continue
        lines = [line.strip() for line in path.read_text(encoding="utf-8", errors="replace").splitlines()]
        rules = [line for line in lines if line and not line.startswith("#")]
        if rules and all(re.match(rf"(Defaults:)?{re.escape(user)}(\s|$)", line) for line in rules):
            found.append(path)
    return found


def rights_of(user: str, etc: Path) -> str:
    """Say what makes the user root; empty when nothing does."""
    primary = pwd.getpwnam(user).pw_gid
    groups = {g.gr_name for g in grp.getgrall() if user in g.gr_mem or g.gr_gid == primary} & set(ROOT_GROUPS)
    found = [f"the group {name}" for name in sorted(groups)]
    found += [str(path) for path in own_rules(user, etc)]
    if not found and may_sudo(user):
        found = ["a rule in sudoers"]
    return ", ".join(found)


def may_sudo(user: str) -> bool:
    """Ask sudo itself, which knows all of its rules."""
    try:
        asked = subprocess.run(
            ["sudo", "-n", "-l", "-U", user], stdin=subprocess.DEVNULL, capture_output=True, timeout=20, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return False
    return b"may run the following" in asked.stdout


def call(*words: str) -> None:
    """Run one of the system's own programs."""
    try:
        ran = subprocess.run(words, stdin=subprocess.DEVNULL, capture_output=True, timeout=60, check=False)
    except FileNotFoundError:
        refuse(f"{words[0]} is not there (package passwd)")
    if ran.returncode != 0:
        refuse(f"{' '.join(words)}: {ran.stderr.decode('utf-8', 'replace').strip()}")


def refuse(reason: str) -> NoReturn:
    """End with one sentence."""
    sys.stderr.write(reason + "\n")
    sys.exit(3)


if __name__ == "__main__":
    print(json.dumps(main(json.loads(sys.argv[1]))))
