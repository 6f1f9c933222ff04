"""The command as a report shows it: without secrets, without users of URLs, without folders."""

from __future__ import annotations

import pytest

from pipeline.cli.command_line import command_line


@pytest.mark.parametrize(
    ("arguments", "shown"),
    [
        (["build", "--target", "arm64"], "pipeline build --target arm64"),
        (["build", "--key", "/home/me/release.pem", "--fast"], "pipeline build --key '***' --fast"),
        (["build", "--key=-----BEGIN PRIVATE KEY-----"], "pipeline build '--key=***'"),
        (["build", "--set", "release.password=p w"], "pipeline build --set 'release.password=***'"),
        (["build", "--model", "/home/me/cats.keras"], "pipeline build --model cats.keras"),
        (["build", "--data=/home/me/cats.npz"], "pipeline build --data=cats.npz"),
        (["build", "--model", "models/cats.keras"], "pipeline build --model models/cats.keras"),
        (["search", "--store", "redis://me:pw@host/0"], "pipeline search --store 'redis://***@host/0'"),
        (["build", "--name", "two words"], "pipeline build --name 'two words'"),
    ],
)
def test_what_others_may_not_see_is_left_out(arguments, shown):
    assert command_line(arguments) == shown
