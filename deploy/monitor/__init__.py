"""Drift detection: compare the statistics of devices with those of the test samples."""
