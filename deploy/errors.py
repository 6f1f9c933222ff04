"""The errors of this package.

::

    DeployError             a release that cannot be written or used
     ├ AddressError         what is not an address of a device
     ├ SignatureError       bytes, a name or a date that are not what was signed; an older release
     ├ TransportError       a device that cannot be reached, or a command or copy that failed on the way
     │  └ MissingToolError  this machine has no ssh or adb to reach one by
     └ RefusedError         a device that cannot take the release: ABI, space, runtime, health
"""


class DeployError(Exception):
    """A release that cannot be written or used."""


class AddressError(DeployError):
    """A text that is not an address of a device, or whose parts could be taken for something else."""


class SignatureError(DeployError):
    """Bytes, a name or a date that are not what was signed, or a release older than the one installed."""


class TransportError(DeployError):
    """A device that cannot be reached, or a command or copy that failed on the way."""


class MissingToolError(TransportError):
    """A program that this machine needs to reach a device and does not have."""


class RefusedError(DeployError):
    """A device that cannot take the release, or on which it did not pass its health check."""
