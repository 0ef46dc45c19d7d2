"""Whether whoever asks the daemon is root at this robot anyway: then what is signed protects it from nobody there."""

from __future__ import annotations

from typing import List

#: Groups whose members are root, or can make themselves so. (What else sudoers says, `fleet bootstrap` asks sudo.)
ROOT_GROUPS = ("sudo", "wheel", "admin", "docker", "lxd", "disk")


def rights_of(uid: int) -> str:
    """Return why the account is root, for a person; empty when it is not, or not known here."""
    if uid == 0:
        return "root"
    import grp
    import pwd

    try:
        account = pwd.getpwuid(uid)
    except KeyError:
        return ""
    found: List[str] = [
        group.gr_name
        for group in grp.getgrall()
        if group.gr_name in ROOT_GROUPS and (account.pw_name in group.gr_mem or group.gr_gid == account.pw_gid)
    ]
    return "{} is in {}".format(account.pw_name, ", ".join(sorted(found))) if found else ""
