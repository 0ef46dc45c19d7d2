"""The updater's systemd unit, for systemd 245 (Ubuntu 20.04) and newer; an older one ignores what it does not know.

What the updater needs is root, Docker's socket, `/var/lib/jetfleet`, `/run`, and for power modes `/sys`, `/proc` and
the GPU's device files. The rest is taken from it, and from the docker client and `nvpmodel` that it runs.
"""

from __future__ import annotations

from runtime.contract.robot.update import ROBOT_DIR, UPDATER_PATH

UNIT_PATH = "/etc/systemd/system/fleet-updater.service"

_NO_CAPABILITIES = (
    "CAP_AUDIT_CONTROL CAP_AUDIT_READ CAP_AUDIT_WRITE CAP_BLOCK_SUSPEND CAP_IPC_LOCK CAP_LEASE CAP_LINUX_IMMUTABLE "
    "CAP_MAC_ADMIN CAP_MAC_OVERRIDE CAP_MKNOD CAP_NET_ADMIN CAP_NET_BROADCAST CAP_NET_RAW CAP_SYS_BOOT CAP_SYS_CHROOT "
    "CAP_SYS_MODULE CAP_SYS_PACCT CAP_SYS_PTRACE CAP_SYS_RAWIO CAP_SYS_TIME CAP_SYS_TTY_CONFIG CAP_SYSLOG "
    "CAP_WAKE_ALARM"
)

# KillMode: the docker client ends with the updater, not before it. One that is killed in mid-step would look like a
# release that failed. The updater asks for its watchdog itself (runtime/updater/daemon/supervision.py).
UNIT = f"""[Unit]
Description=Jetfleet updater: takes this robot from one release to the next, and back
After=docker.service
Wants=docker.service
RequiresMountsFor={ROBOT_DIR}
StartLimitIntervalSec=0

[Service]
ExecStart=/usr/bin/python3 -I {UPDATER_PATH} serve
RuntimeDirectory=jetfleet
RuntimeDirectoryPreserve=yes
Restart=always
RestartSec=2
KillMode=mixed
TimeoutStopSec=30
NotifyAccess=all
WatchdogSignal=SIGKILL
NoNewPrivileges=yes
ProtectSystem=full
ProtectHome=read-only
PrivateTmp=yes
ProtectKernelModules=yes
ProtectKernelLogs=yes
ProtectControlGroups=yes
ProtectHostname=yes
RestrictNamespaces=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
LockPersonality=yes
RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6 AF_NETLINK
SystemCallArchitectures=native
SystemCallFilter=~@clock @cpu-emulation @debug @module @mount @obsolete @raw-io @reboot @swap
SystemCallErrorNumber=EPERM
CapabilityBoundingSet=~{_NO_CAPABILITIES}

[Install]
WantedBy=multi-user.target
"""
