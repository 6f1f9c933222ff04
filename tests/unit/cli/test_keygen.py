"""``pipeline keygen``: two files and a fingerprint that ``sha256sum`` agrees with."""

from __future__ import annotations

import subprocess


def test_it_says_where_the_keys_are_and_the_public_ones_fingerprint(tmp_path, pipeline, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("EDGE_PIPELINE_SIGNING_PASSWORD", raising=False)

    ended = pipeline("keygen")

    said = ended.out.split()
    summed = subprocess.run(["sha256sum", "release.pub"], capture_output=True, text=True).stdout
    assert (ended.code, ended.err) == (0, "")
    assert said[-1] == summed.split()[0]
    assert "release.key (not encrypted; keep it secret)" in " ".join(said)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["release.key", "release.pub"]


def test_openssl_reads_the_keys(tmp_path, pipeline):
    assert pipeline("keygen", "--out", tmp_path / "team").code == 0

    command = ["openssl", "pkey", "-in", tmp_path / "team", "-pubout"]
    assert subprocess.run(command, capture_output=True).stdout == (tmp_path / "team.pub").read_bytes()


def test_a_password_from_the_environment_encrypts_the_key(tmp_path, pipeline, monkeypatch):
    monkeypatch.setenv("EDGE_PIPELINE_SIGNING_PASSWORD", "correct horse")

    ended = pipeline("keygen", "--out", tmp_path / "a.key")

    assert "(encrypted; keep it secret)" in ended.out
    assert "ENCRYPTED" in (tmp_path / "a.key").read_text()
    assert "correct horse" not in ended.out + ended.err


def test_a_key_that_is_there_is_never_replaced(tmp_path, pipeline):
    pipeline("keygen", "--out", tmp_path / "a.key")
    before = (tmp_path / "a.key").read_bytes(), (tmp_path / "a.pub").read_bytes()

    ended = pipeline("keygen", "--out", tmp_path / "a.key")

    assert (ended.code, ended.out) == (3, "")
    assert ended.message.endswith("a.pub: File exists; name another file with --out")
    assert ((tmp_path / "a.key").read_bytes(), (tmp_path / "a.pub").read_bytes()) == before


def test_a_folder_that_cannot_be_written_is_one_clear_line(tmp_path, pipeline):
    ended = pipeline("keygen", "--out", tmp_path / "nowhere" / "a.key")

    assert ended.code == 3
    assert ended.message.endswith("a.pub: No such file or directory; name another file with --out")
