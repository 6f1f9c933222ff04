"""The files of a release: what is changed, missing, added, a link, too much or badly named is refused."""

from __future__ import annotations

import os
import shutil
import socket
from pathlib import Path

import pytest

from deploy.contents import MAX_FILES, check_manifest, check_sums, list_files
from deploy.errors import DeployError, SignatureError

NAME = "tiny-1.2.3-arm64"
MODEL = f"{NAME}.tflite"
CHANGED = "its bytes are not those in SHA256SUMS"
TOO_MANY = "a file too many: SHA256SUMS does not name it"
NOT_PLAIN = "where a release has plain files only"
NO_NAME = "is not a valid name of a file in a release"


def tampered(name):
    def damage(signed):
        content = bytearray((signed.release / name).read_bytes())
        content[len(content) // 2] ^= 1
        (signed.release / name).write_bytes(content)

    return damage


def truncated(name, share):
    def damage(signed):
        content = (signed.release / name).read_bytes()
        (signed.release / name).write_bytes(content[: int(len(content) * share)])

    return damage


def added(*names):
    def damage(signed):
        for name in names:
            path = signed.release / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(b"x")

    return damage


def removed(name):
    return lambda signed: (signed.release / name).unlink()


def renamed(old, new):
    def damage(signed):
        (signed.release / old).rename(signed.release / new)

    return damage


def moved(name):
    return lambda signed: signed.release.rename(signed.release.parent / name)


def instead(name, put):
    def damage(signed):
        (signed.release / name).unlink()
        put(signed.release / name)

    return damage


def linked(name):
    """A link to what was there, so that every byte is as it was."""

    def damage(signed):
        elsewhere = signed.release.parent / "elsewhere"
        (signed.release / name).rename(elsewhere)
        (signed.release / name).symlink_to(elsewhere)

    return damage


def link(where):
    return lambda signed: (signed.release / "x").symlink_to(where(signed))


def linked_release(signed):
    (path := signed.release.parent.parent / NAME).symlink_to(signed.release)
    return path


def socket_at(path):
    here = Path.cwd()
    os.chdir(path.parent)  # the path of a socket has to be short
    try:
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(path.name)
    finally:
        os.chdir(here)


def folder_with_a_file(path):
    path.mkdir()
    (path / "x").touch()


def emptied(signed):
    shutil.rmtree(signed.release)
    signed.release.mkdir()


def many_files(signed):
    for number in range(MAX_FILES):
        (signed.release / f"{number}").touch()


def grown(name, size):
    """With a hole, which takes no space."""

    def damage(signed):
        with (signed.release / name).open("r+b") as stream:
            stream.truncate(size)

    return damage


def deep_folders(signed):
    (deep := signed.release.joinpath(*"d" * 24)).mkdir(parents=True)
    (deep / "x").touch()


REFUSED = {
    "a byte of the model": (tampered(MODEL), f"{MODEL}: {CHANGED}"),
    "a byte of a golden output": (tampered("golden_output_0.npy"), f"golden_output_0.npy: {CHANGED}"),
    "a byte of a file in a subfolder": (tampered("c/model.h"), f"c/model.h: {CHANGED}"),
    "a byte of the report": (tampered("report.json"), f"report.json: {CHANGED}"),
    "a byte of the manifest": (tampered("manifest.json"), f"manifest.json: {CHANGED}"),
    "a byte of SHA256SUMS": (tampered("SHA256SUMS"), CHANGED),
    "half the model": (truncated(MODEL, 0.5), f"{MODEL}: {CHANGED}"),
    "an empty model": (truncated(MODEL, 0), f"{MODEL}: {CHANGED}"),
    "half of SHA256SUMS": (truncated("SHA256SUMS", 0.5), "SHA256SUMS does not name it"),
    "an empty SHA256SUMS": (truncated("SHA256SUMS", 0), "SHA256SUMS does not name it"),
    "an extra file": (added("extra.txt"), f"extra.txt: {TOO_MANY}"),
    "an extra hidden file": (added(".hidden"), f".hidden: {TOO_MANY}"),
    "a file that git would ignore": (added(".gitignore"), f".gitignore: {TOO_MANY}"),
    "a file in a .git folder": (added(".git/config"), f".git/config: {TOO_MANY}"),
    "an extra file in a subfolder": (added("c/extra.h"), f"c/extra.h: {TOO_MANY}"),
    "another signature in a subfolder": (added("c/release.sig"), f"c/release.sig: {TOO_MANY}"),
    "an extra folder without files": (lambda s: (s.release / "new").mkdir(), "new: an empty folder"),
    "no model": (removed(MODEL), f"{MODEL}: missing, but SHA256SUMS names it"),
    "no report": (removed("report.json"), "report.json: missing, but SHA256SUMS names it"),
    "no manifest": (removed("manifest.json"), "manifest.json: missing, but SHA256SUMS names it"),
    "no SHA256SUMS": (removed("SHA256SUMS"), "no SHA256SUMS, which every release has"),
    "an empty release folder": (emptied, "an empty folder"),
    "a renamed model": (renamed(MODEL, "x.tflite"), f"{MODEL}: missing, but SHA256SUMS names it"),
    "a file moved into a subfolder": (renamed("labels.txt", "c/labels.txt"), "labels.txt: missing"),
    "a renamed release folder": (moved("tiny-9.9.9-arm64"), f"the release in it is {NAME}"),
    "a release folder with another target": (moved("tiny-1.2.3-armv7"), f"the release in it is {NAME}"),
    "a release folder called by another digest": (moved("0" * 64), f"the release in it is {NAME}"),
    "a link to a file of the same bytes": (linked(MODEL), f"{MODEL}: a link, {NOT_PLAIN}"),
    "a link instead of the signature": (linked("release.sig"), f"release.sig: a link, {NOT_PLAIN}"),
    "a link to nowhere": (link(lambda signed: "nowhere"), f"x: a link, {NOT_PLAIN}"),
    "a link round and round": (link(lambda signed: signed.release), f"x: a link, {NOT_PLAIN}"),
    "a linked subfolder": (linked("c"), f"c: a link, {NOT_PLAIN}"),
    "a linked release folder": (linked_release, "a link; name the release's folder itself"),
    "an empty folder in place of a file": (instead(MODEL, Path.mkdir), f"{MODEL}: an empty folder"),
    "a folder in place of a file": (instead(MODEL, folder_with_a_file), f"{MODEL}: missing"),
    "a folder in place of the signature": (instead("release.sig", folder_with_a_file), "no release.sig"),
    "a folder in place of SHA256SUMS": (instead("SHA256SUMS", folder_with_a_file), "no SHA256SUMS"),
    "a pipe in place of the model": (instead(MODEL, os.mkfifo), f"{MODEL}: a special file, {NOT_PLAIN}"),
    "a pipe in place of the signature": (instead("release.sig", os.mkfifo), f"a special file, {NOT_PLAIN}"),
    "a pipe in place of the manifest": (instead("manifest.json", os.mkfifo), f"a special file, {NOT_PLAIN}"),
    "a socket in place of a file": (instead("labels.txt", socket_at), f"a special file, {NOT_PLAIN}"),
    "too many files": (many_files, f"more than the {MAX_FILES} files that a release can hold"),
    "a huge file": (grown(MODEL, 5 << 30), f"{MODEL}: more than a release can hold"),
    "a huge signature": (grown("release.sig", 64 << 20), "release.sig: more than a release can hold"),
    "a huge SHA256SUMS": (grown("SHA256SUMS", 64 << 20), "SHA256SUMS: more than a release can hold"),
    "folders too deep": (deep_folders, "too deep"),
    "names that differ by case": (added("LABELS.txt"), "differ only by case"),
    "folders that differ by case": (added("C/other.h"), "differ only by case"),
    "names that differ by composition": (added("\u00e9", "e\u0301"), "differ only by case"),
    "a name with a newline": (added("a\nb"), NO_NAME),
    "a name with terminal codes": (added("\x1b[31mred"), NO_NAME),
    "a name that turns its letters round": (added("a\u202etxt.exe"), NO_NAME),
    "a name that is no UTF-8": (added(os.fsdecode(b"\xff\xfe")), NO_NAME),
    "a name with a backslash": (added("..\\x"), NO_NAME),
}


@pytest.mark.timeout(300)
@pytest.mark.parametrize(("damage", "said"), REFUSED.values(), ids=REFUSED.keys())
def test_what_is_not_as_it_was_written_is_refused(damage, said, refusal):
    assert said in refusal(damage)


# What needs no signature to be seen.
SEEN_UNSIGNED = [name for name in REFUSED if "signature" not in name]


@pytest.mark.timeout(300)
@pytest.mark.parametrize("name", SEEN_UNSIGNED)
def test_the_checksums_and_the_manifest_alone_see_it(name, signed):
    damage, _ = REFUSED[name]
    (signed.release / "release.sig").unlink()
    elsewhere = damage(signed)
    folder = elsewhere if isinstance(elsewhere, Path) else signed.release

    with pytest.raises(SignatureError):
        check_manifest(folder, check_sums(folder))


def test_an_unsigned_release_is_as_its_checksums_say(tmp_path, write_release):
    folder = write_release(tmp_path)

    sums = check_sums(folder)

    assert list(sums) == list_files(folder)
    assert check_manifest(folder, sums).full_name == folder.name


def test_files_are_listed_by_their_path_in_order(tmp_path):
    for name in ("b", "a/c", "a.b", "a/b/c"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()

    assert list_files(tmp_path) == ["a.b", "a/b/c", "a/c", "b"]


def test_a_folder_that_is_not_there_is_bad_input(tmp_path):
    (tmp_path / "file").touch()
    for path, said in ((tmp_path / "x", "No such file"), (tmp_path / "file", "not a folder")):
        with pytest.raises(DeployError, match=f"{path}: {said}.*; name ") as refused:
            list_files(path)
        assert not isinstance(refused.value, SignatureError)
