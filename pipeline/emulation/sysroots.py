"""The sysroots of emulated devices, one per architecture: what is downloaded, and how its Python starts."""

from __future__ import annotations

from dataclasses import dataclass

from pipeline.emulation.bundle import PROVISION, Bundle, bundle_for, resource
from pipeline.errors import ToolchainError


@dataclass(frozen=True)
class Sysroot:
    """The files and settings that emulated devices of one architecture run on.

    Attributes:
        arch: as ``uname -m`` says it.
        debian: Debian's name for it.
        qemu: the emulator's program.
        packages: Debian's packages, without what they depend on.
        wheels: the file that pins the wheels.
        platforms: pip's names for what those wheels are built for, the best first.
        plugins: qemu's plugins that its devices run under, beside the one that counts.
        variables: what its Python needs in its environment to find modules and libraries.
        provision: the command that provisions it.
    """

    arch: str
    debian: str
    qemu: str
    packages: tuple[str, ...]
    wheels: str
    platforms: tuple[str, ...]
    plugins: tuple[str, ...]
    variables: tuple[tuple[str, str], ...]
    provision: str

    @property
    def bundle(self) -> Bundle:
        """The provisioned bundle of the sysroot."""
        recipe = [self.debian, *self.packages, resource(self.wheels)]
        return bundle_for(self.debian, recipe, self.provision)

    def environment(self) -> dict[str, str]:
        """Return its whole environment: fixed, so that two runs execute the same instructions."""
        return {**dict(self.variables), "PYTHONHASHSEED": "0", "LC_ALL": "C.UTF-8"}

    def pinned(self) -> dict[str, str]:
        """Return the versions of its wheels by their names."""
        lines = resource(self.wheels).splitlines()
        return dict(line.split()[0].split("==") for line in lines if "==" in line)


PYTHON = "/usr/bin/python3.11"
PYTHON_PACKAGES = ("python3.11-minimal", "libpython3.11-stdlib", "libstdc++6")

SYSROOTS = {
    "aarch64": Sysroot(
        arch="aarch64",
        debian="arm64",
        qemu="qemu-aarch64",
        packages=PYTHON_PACKAGES,
        wheels="wheels-aarch64.txt",
        platforms=("manylinux_2_27_aarch64", "manylinux_2_17_aarch64", "manylinux2014_aarch64"),
        plugins=(),
        variables=(("PYTHONPATH", "/site"),),
        provision=PROVISION,
    ),
    # There are no 32-bit wheels of numpy: it is Debian's, whose libraries a maintainer script would have
    # linked to where they are looked for.
    "armv7l": Sysroot(
        arch="armv7l",
        debian="armhf",
        qemu="qemu-arm",
        packages=(*PYTHON_PACKAGES, "python3-numpy"),
        wheels="wheels-armv7l.txt",
        platforms=("manylinux_2_34_armv7l",),
        plugins=("statx",),
        variables=(
            ("PYTHONPATH", "/site:/usr/lib/python3/dist-packages"),
            ("LD_LIBRARY_PATH", "/usr/lib/arm-linux-gnueabihf/blas:/usr/lib/arm-linux-gnueabihf/lapack"),
        ),
        provision=f"{PROVISION} armv7",
    ),
}


def get_sysroot(arch: str) -> Sysroot:
    """Return the architecture that ``uname -m`` calls ``arch``.

    Raises:
        ToolchainError: devices of it are not emulated.
    """
    if arch not in SYSROOTS:
        message = (
            f"devices of {arch} are not emulated, only those of {' and '.join(SYSROOTS)}; use one of those"
        )
        raise ToolchainError(message)
    return SYSROOTS[arch]
