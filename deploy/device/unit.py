"""The systemd unit that keeps a release answering on a board; the build writes it, into the release."""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from deploy.errors import DeployError

if TYPE_CHECKING:
    from deploy.manifest import Manifest

# The user is a static one, made once on the board: what a DynamicUser= keeps is in a folder that root alone
# may enter, and neither `pipeline monitor` nor node_exporter is root.
USER = "edge-models"

PYTHON = "/usr/bin/python3"
"""Runs a version where ``ROOT/NAME/python/DIGEST`` does not lead to the Python that was proved for it."""

# The link is read, not followed: a virtual environment's Python finds its packages by its own path alone.
START = (
    'version=$(readlink "$0/current"); python=$(readlink "$0/python/${version##*[/-]}"); '
    f'exec "${{python:-{PYTHON}}}" "$0/$version/runner.py" run --socket "$1"'
)
"""For a shell, with the folder of all versions as ``$0`` and the socket as ``$1``."""

# /proc stays whole (no ProcSubset=pid): without /proc/cpuinfo XNNPACK switches itself off.
UNIT = """\
[Unit]
Description=Model {name}, answering on /run/{name}/model.sock
ConditionPathExists={condition}
StartLimitIntervalSec=300
StartLimitBurst=5

[Service]
Type=notify
ExecStart=/bin/sh -c '{start}' {folder} %t/{name}/model.sock
WatchdogSec=30
Restart=on-failure
RestartSec=2
User={user}
Group={user}
RuntimeDirectory={name}
RuntimeDirectoryMode=0750
StateDirectory={user}/{name}

MemoryMax={memory}M
TasksMax=64
LimitCORE=0

NoNewPrivileges=yes
CapabilityBoundingSet=
AmbientCapabilities=
ProtectSystem=strict
ProtectHome=yes
PrivateTmp=yes
PrivateDevices=yes
DevicePolicy=closed
PrivateNetwork=yes
PrivateIPC=yes
PrivateUsers=yes
RestrictAddressFamilies=AF_UNIX
IPAddressDeny=any
ProtectProc=invisible
ProtectClock=yes
ProtectHostname=yes
ProtectKernelLogs=yes
ProtectKernelModules=yes
ProtectKernelTunables=yes
ProtectControlGroups=yes
RestrictNamespaces=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
RemoveIPC=yes
LockPersonality=yes
MemoryDenyWriteExecute=yes
SystemCallArchitectures=native
SystemCallFilter=@system-service
SystemCallFilter=~@privileged @resources
SystemCallErrorNumber=EPERM
UMask=0022

[Install]
WantedBy=multi-user.target
"""


def service_unit(manifest: Manifest, root: str = "/opt", memory_mib: int = 256) -> str:
    """Return the text of ``NAME.service``.

    Args:
        manifest: the release's.
        root: the folder on the board in which ``NAME/current`` is.
        memory_mib: what the service may use before the kernel ends it.

    Raises:
        DeployError: ``root`` is not an absolute path, or not one that a unit can hold.
    """
    path = PurePosixPath(root)
    if not path.is_absolute() or ".." in path.parts or not root.isprintable():
        msg = f"{root!r} cannot be the root of a service: give an absolute path such as /opt"
        raise DeployError(msg)
    folder = str(path / manifest.name).replace("%", "%%")
    quoted = folder.replace("\\", "\\\\").replace('"', '\\"').replace("$", "$$")
    return UNIT.format(
        name=manifest.name,
        condition=f"{folder}/current/runner.py",
        start=START.replace("$", "$$"),
        folder=f'"{quoted}"',
        user=USER,
        memory=memory_mib,
    )
