"""Assemble the board's image from unpacked packages."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from pipeline.emulation import packages
from pipeline.emulation.board.initrd import write_end, write_files, write_skeleton, write_tree
from pipeline.emulation.bundle import resource

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from pipeline.emulation.board.image import BoardImage

HOST_PACKAGES = ("qemu-system-arm", "e2fsprogs", "python3-pip-whl", "adb")
KERNEL_PACKAGE = "linux-image-cloud-arm64"
BOARD_PACKAGES = (
    *("base-files", "bash", "dash", "coreutils", "procps", "busybox-static", "sed", "grep", "findutils"),
    *("python3.11-minimal", "libpython3.11-stdlib", "libstdc++6", "openssh-server", "adbd"),
)
BACKPORTS = ("adb", "adbd", "android-*")
"""Packages that Debian has for arm64, or recent enough, only in backports."""

NOT_UNPACKED = (
    *("libperl", "perl", "iso-codes", "initramfs-tools", "linux-base", "klibc", "libklibc", "udev", "dpkg_"),
    *("debconf", "adduser", "ucf", "kmod", "logsave", "cpio", "lsb-base", "sysvinit-utils", "util-linux_"),
)
"""Packages that only maintainer scripts need, by prefix of the file name."""

DRIVERS = (
    "drivers/virtio/virtio",
    "drivers/virtio/virtio_ring",
    "drivers/virtio/virtio_mmio",
    "drivers/block/virtio_blk",
    "net/core/failover",
    "drivers/net/net_failover",
    "drivers/net/virtio_net",
)
IN_MEMORY = (
    *("bin/busybox", "bin/sh", "bin/dash", "etc/passwd", "site", "lib/ld-linux-aarch64.so.1"),
    *("lib/aarch64-linux-gnu", "usr/bin/python3.11", "usr/lib/python3.11"),
    *(f"usr/lib/aarch64-linux-gnu/lib{name}*.so*" for name in ("stdc++", "expat", "ffi", "crypto", "ssl")),
)
"""Files of the root that the diskless board contains, by glob."""

NOT_OF_THE_WHEELS = ("**/tests", "**/include", "numpy/f2py", "numpy/distutils", "**/*WebGpu*")
"""Files that inference on a CPU does not use, by glob."""

ACCOUNTS = {
    "etc/passwd": "root:x:0:0:root:/root:/bin/bash\nsshd:x:100:65534::/run/sshd:/usr/sbin/nologin\n",
    "etc/group": "root:x:0:\nnogroup:x:65534:\n",
    "etc/shadow": "root:*:19000:0:99999:7:::\nsshd:*:19000:0:99999:7:::\n",
}
"""Files that base-passwd's maintainer script would write. ``*``: no login with a password."""

PROPERTIES = """\
ro.product.cpu.abi=arm64-v8a
ro.product.cpu.abilist=arm64-v8a
ro.product.manufacturer=QEMU
ro.product.model=virt, an arm64 Linux board
"""
"""Answers of the board to ``getprop``, for programs that query Android devices."""

GETPROP = """\
#!/bin/sh
if [ $# = 0 ]; then
    exec sed 's/\\([^=]*\\)=\\(.*\\)/[\\1]: [\\2]/' /etc/properties
fi
while IFS= read -r line; do
    [ "${line%%=*}" = "$1" ] && echo "${line#*=}" && exit
done < /etc/properties
echo "$2"
"""

ADB = """\
#!/bin/sh
# Debian's adb on the libraries beside it. It restarts itself as its server, so the loader is the system's.
host=$(dirname "$(readlink -f "$0")")
LD_LIBRARY_PATH="$host/adb-libraries" exec "$host/usr/lib/android-sdk/platform-tools/adb" "$@"
"""
OF_THE_LOADER = re.compile(
    r"lib(c|m|dl|rt|pthread|resolv|util|anl|mvec|nsl|nss_.*|thread_db|c_malloc_debug|memusage|pcprofile"
    r"|BrokenLocale)\.so.*"
)
"""Libraries that belong to one loader, by name."""

SPARE_MIB = 64
"""Room on the board's root for what its user puts there."""


def unpack_all(staging: BoardImage, debs: Sequence[tuple[Path, str]], advance: Callable[..., None]) -> None:
    """Unpack packages, each into its folder below the staging folder; no maintainer script is run."""

    def unpack(deb: Path, where: str) -> None:
        if not deb.name.startswith(NOT_UNPACKED):
            packages.unpack_debs([deb], staging.folder / where)

    with ThreadPoolExecutor(2) as threads:
        for (deb, _), _done in zip(debs, threads.map(lambda row: unpack(*row), debs), strict=True):
            advance(1, deb.name.partition("_")[0])


def assemble(staging: BoardImage) -> None:
    """Make the kernel, the initial RAM disk and the root of what was unpacked, and delete that."""
    folder, root = staging.folder, staging.folder / "root"
    kernel = folder / "kernel-package"
    shutil.copyfile(next(kernel.glob("boot/vmlinuz-*")), staging.kernel)
    drivers = next(kernel.glob("lib/modules/*/kernel"))
    _configure_rootfs(root)
    (folder / "drivers").mkdir(exist_ok=True)
    for name in DRIVERS:
        shutil.copy(drivers / f"{name}.ko", folder / "drivers")
    _write_initrds(staging, root)
    used = sum(path.lstat().st_size + 4096 for path in root.rglob("*"))
    staging.make_disk(root, staging.root, (used * 11 // 10 >> 20) + SPARE_MIB)
    for name in ("root", "drivers", "kernel-package", "apt-host", "apt-root", "wheels"):
        shutil.rmtree(folder / name, ignore_errors=True)
    for name in ("usr/share/doc", "usr/share/man", "usr/share/python-wheels", "usr/share/locale"):
        shutil.rmtree(folder / "host" / name, ignore_errors=True)
    (folder / "host/usr/bin/qemu-system-arm").unlink(missing_ok=True)
    _configure_adb(folder / "host", staging.adb)


def _configure_adb(host: Path, command: Path) -> None:
    """Make the command that runs adb on libraries of ``host``, less those that belong to its own loader."""
    libraries = host / "adb-libraries"
    libraries.mkdir(exist_ok=True)
    for folder in ("lib/*-linux-gnu", "usr/lib/*-linux-gnu", "usr/lib/*-linux-gnu/android"):
        for path in host.glob(f"{folder}/lib*.so.*"):
            link = libraries / path.name
            if not OF_THE_LOADER.fullmatch(path.name):
                link.unlink(missing_ok=True)
                link.symlink_to(f"../{path.relative_to(host)}")
    command.write_text(ADB, encoding="ascii")
    command.chmod(0o755)


def _write_initrds(staging: BoardImage, root: Path) -> None:
    for path, init, names in (
        (staging.initrd, "initrd.sh", ("bin/busybox",)),
        (staging.diskless, "init.sh", IN_MEMORY),
    ):
        with path.open("wb") as archive:
            write_skeleton(archive)
            write_files(archive, {"init": resource(f"board/{init}").encode()})
            found = (path for name in names for path in sorted(root.glob(name)))
            write_tree(archive, root, [path.relative_to(root).as_posix() for path in found])
            write_tree(archive, staging.folder, ["drivers"])
            write_end(archive)


def _configure_rootfs(root: Path) -> None:
    """Do what the maintainer scripts would have done, as far as the board needs it."""
    for name in ("doc", "man", "locale", "info", "i18n", "perl", "perl5", "bash-completion"):
        shutil.rmtree(root / "usr/share" / name, ignore_errors=True)
    for pattern in NOT_OF_THE_WHEELS:
        for path in (root / "site").glob(pattern):
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    for name, text in ACCOUNTS.items():
        (root / name).write_text(text, encoding="ascii")
    (root / "etc/shadow").chmod(0o600)
    for name in ("job", "dev", "proc", "sys", "run", "tmp", "root", "data/local/tmp", "opt"):
        (root / name).mkdir(parents=True, exist_ok=True)
    (root / "usr/lib/python3/dist-packages").mkdir(parents=True, exist_ok=True)
    (root / "usr/lib/python3/dist-packages/site.pth").write_text("/site\n", encoding="ascii")
    (root / "etc/properties").write_text(PROPERTIES, encoding="ascii")
    (root / "usr/bin/getprop").write_text(GETPROP, encoding="ascii")
    (root / "usr/bin/getprop").chmod(0o755)
    for name, program in (("bin/sh", "dash"), ("usr/bin/python3", "python3.11")):
        if not (root / name).exists():
            (root / name).symlink_to(program)
    init = root / "sbin/init"
    init.unlink(missing_ok=True)
    init.write_text(resource("board/init.sh"), encoding="utf-8")
    init.chmod(0o755)
    for code in ("usr/lib/python3.11", "site"):
        compile_files = [sys.executable, "-m", "compileall", "-qx", "/tests?/", "-j", "2"]
        compile_files += ["--invalidation-mode=unchecked-hash", "-s", str(root), "-p", "/", str(root / code)]
        subprocess.run(compile_files, capture_output=True, check=False, timeout=300)
