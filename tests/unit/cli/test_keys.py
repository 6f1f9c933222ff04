"""Which keys the commands trust, and what they say of a release that never expires."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest

from deploy.keys import fingerprint, generate_key

COMMANDS = {
    "verify": (),
    "deploy": ("--to", "local://", "--root", "/nowhere"),
    "monitor": ("--from", "local://"),
}
REFUSED = 6


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    for name in ("EDGE_PIPELINE_PUBLIC_KEY", "EDGE_PIPELINE_REVOKED_KEYS", "EDGE_PIPELINE_SIGNING_KEY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def release(signed_release):
    return signed_release()


@pytest.fixture
def public(release):
    return release.parents[1] / "release.pub"


@pytest.fixture
def other(tmp_path):
    generate_key(tmp_path / "other.key", tmp_path / "other.pub")
    return tmp_path / "other.pub"


@pytest.fixture(params=COMMANDS)
def run(request, release, pipeline):
    """Run one of the commands that verify a release, with the given options."""
    return lambda *options: pipeline(request.param, release, *COMMANDS[request.param], *options)


def test_any_of_several_public_keys_verifies_a_release(run, public, other):
    assert run("--public-key", other, "--public-key", public).code != REFUSED
    ended = run("--public-key", other)
    assert (ended.code, "signed with another key" in ended.message) == (REFUSED, True)


def test_a_revoked_key_is_not_trusted(run, public, other, monkeypatch):
    keys = ("--public-key", other, "--public-key", public)
    ended = run(*keys, "--revoked-key", public)
    assert (ended.code, "signed with a revoked key" in ended.message) == (REFUSED, True)

    Path("revoked.txt").write_text(fingerprint(public))
    monkeypatch.setenv("EDGE_PIPELINE_REVOKED_KEYS", "revoked.txt")
    assert run(*keys).code == REFUSED


def test_keys_and_revoked_keys_of_the_settings_count(run, public, other):
    Path("revoked.txt").write_text(fingerprint(public))
    settings = f'[release]\npublic_key = ["{other}", "{public}"]\n'

    Path("pipeline.toml").write_text(settings)
    assert run().code != REFUSED
    Path("pipeline.toml").write_text(f'{settings}revoked_keys = "revoked.txt"\n')
    assert run().code == REFUSED
    Path("pipeline.toml").write_text(f'[release]\npublic_key = "{other}"\n')
    assert run().code == REFUSED
    assert run("--public-key", public).code != REFUSED


def test_settings_whose_key_is_no_path_are_refused(run):
    Path("pipeline.toml").write_text("[release]\npublic_key = 3\n")

    ended = run()

    assert (ended.code, "pipeline.toml: release.public_key: got 3; write the path" in ended.message) == (
        2,
        True,
    )


def test_only_monitoring_goes_without_a_key(pipeline, release):
    for command, options in COMMANDS.items():
        ended = pipeline(command, release, *options)
        missing = ended.code == 2 and "no public key; pass --public-key FILE" in ended.message
        assert missing is (command != "monitor")


def test_a_release_that_is_signed_without_an_expiry_date_comes_with_the_option_that_sets_one(
    pipeline, release, other, tmp_path
):
    words = ("release", release, "--key", other.with_suffix(".key"), "--json", "--out")
    ended = pipeline(*words, tmp_path / "a")

    hints = [line for line in ended.err.splitlines() if line.startswith("hint: ")]
    day = date.fromisoformat(hints[0].rpartition("--expires ")[2])
    assert abs(day - datetime.now(UTC).date() - timedelta(365)) <= timedelta(1)
    assert (len(hints), "hint" in ended.out) == (1, False)
    assert pipeline(*words, tmp_path / "b", "--expires", day).err == ""


def test_nothing_is_said_of_the_expiry_of_a_release_that_is_not_signed(pipeline, release, tmp_path):
    assert pipeline("release", release, "--out", tmp_path / "a").err == ""
