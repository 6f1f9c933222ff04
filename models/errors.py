"""The errors of this package: one line each that says what, where and how to mend it."""


class ModelError(Exception):
    """A model file that cannot be used."""


class DataError(ModelError):
    """A data set that cannot be used."""
