"""The errors of this package.

::

    DeployError             a release that cannot be written or used
     ├ SignatureError       bytes, a name or a date that are not what was signed; an older release
     ├ TransportError       a device that cannot be reached, or a command or copy that failed on the way
     └ RefusedError         a device that cannot take the release: ABI, space, runtime, health
"""


class DeployError(Exception):
    """A release that cannot be written or used."""


class SignatureError(DeployError):
    """Bytes, a name or a date that are not what was signed, or a release older than the one installed."""


class TransportError(DeployError):
    """A device that cannot be reached, or a command or copy that failed on the way."""


class RefusedError(DeployError):
    """A device that cannot take the release, or on which it did not pass its health check."""
