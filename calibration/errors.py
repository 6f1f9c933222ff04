"""Errors of this package."""


class CalibrationError(Exception):
    """The calibration samples cannot be chosen or used."""
