"""The errors of this package."""


class CalibrationError(Exception):
    """A calibration set that cannot be chosen or used."""
