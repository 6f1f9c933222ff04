"""Errors of this package: one line each that says what is wrong, where, and how to fix it."""


class ModelError(Exception):
    """A model file that cannot be used."""


class DataError(ModelError):
    """A data set that cannot be used."""
