"""The errors of this package."""


class DeployError(Exception):
    """A release that cannot be written or used."""
