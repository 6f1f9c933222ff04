"""An archive behind a model: every byte of it has its place, or it is refused."""

from __future__ import annotations

import io
import zipfile

import pytest

from pipeline.errors import InputError
from pipeline.flatbuffer.associated_files import append_files, read_associated_files

MODEL = b"a model, which ends here"
FILES = {"labels.txt": b"left\nright\n", "größen.txt": b"1\n"}


class Refused(Exception):  # noqa: N818
    pass


def fail(what):
    raise Refused(what)


def read(content):
    return read_associated_files(content, len(MODEL), fail)


def zipped(write, mode="a"):
    stream = io.BytesIO(MODEL)
    with zipfile.ZipFile(stream, mode) as archive:
        write(archive)
    return stream.getvalue()


def test_what_was_attached_is_read_again_by_this_reader_and_by_others():
    content = append_files(MODEL, FILES)

    assert content.startswith(MODEL)
    assert read(content) == FILES
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        assert {name: archive.read(name) for name in archive.namelist()} == FILES
        assert archive.testzip() is None
    assert append_files(MODEL, {}) == MODEL


def test_what_others_attach_is_read():
    def write(archive):
        for name, data in FILES.items():
            archive.writestr(name, data)

    assert read(zipped(write)) == FILES


@pytest.mark.parametrize(
    ("write", "complaint"),
    [
        (lambda zip_: zip_.writestr("a.txt", b"a" * 99, zipfile.ZIP_DEFLATED), "compressed or encrypted"),
        (lambda zip_: zip_.writestr("../a.txt", b"a"), r"called '\.\./a\.txt'"),
        (lambda zip_: zip_.writestr("/a.txt", b"a"), "called '/a.txt'"),
        (lambda zip_: zip_.writestr("a\nb", b"a"), r"called 'a\\nb'"),
        (lambda zip_: setattr(zip_, "comment", b"hidden") or zip_.writestr("a", b"a"), "does not end where"),
        (lambda zip_: [zip_.writestr(f"{i}", b"") for i in range(65)], "65 files are attached"),
    ],
    ids=["deflated", "above", "absolute", "newline", "comment", "many"],
)
def test_archives_of_another_kind_are_refused(write, complaint):
    with pytest.raises(Refused, match=complaint):
        read(zipped(write))


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_a_name_that_is_there_twice_is_refused():
    with pytest.raises(Refused, match="attached twice"):
        read(zipped(lambda zip_: [zip_.writestr("a", b"1"), zip_.writestr("a", b"2")]))


def test_bytes_before_between_and_behind_the_members_are_refused():
    whole = append_files(MODEL, FILES)
    second, directory = whole.index(b"PK\3\4", len(MODEL) + 4), whole.index(b"PK\1\2")

    for at in (len(MODEL), second, directory, len(whole)):
        with pytest.raises(Refused):
            read(whole[:at] + b"hidden" + whole[at:])


def test_an_archive_without_a_file_has_none():
    assert read(zipped(lambda archive: None)) == {}
    with pytest.raises(Refused):
        read(MODEL + b"hidden" + zipped(lambda archive: None)[len(MODEL) :])


def test_zeros_before_the_first_member_are_padding():
    assert read(append_files(MODEL + bytes(7), FILES)) == FILES
    with pytest.raises(Refused, match="65 bytes lie before"):
        read(append_files(MODEL + bytes(65), FILES))


def test_every_cut_and_every_flip_of_a_byte_is_refused_or_changes_no_file():
    whole = append_files(MODEL, FILES)
    for length in range(len(MODEL), len(whole)):
        with pytest.raises(Refused):
            read(whole[:length])
    for at in range(len(MODEL), len(whole)):
        flipped = bytearray(whole)
        flipped[at] ^= 0x5A
        try:
            found = read(bytes(flipped))
        except Refused:
            continue
        assert list(found.values()) == list(FILES.values()), at


def test_an_archive_that_is_too_large_is_refused():
    with pytest.raises(Refused, match="more than 64 MiB"):
        read(append_files(MODEL, {"a": bytes(64 * 2**20)}))


def test_the_error_of_a_model_names_the_file(tiny_tflite):
    from pipeline.flatbuffer import read_tflite

    with pytest.raises(InputError, match=r"x\.tflite: the file 'labels\.txt' is attached, and the metadata"):
        read_tflite(append_files(tiny_tflite, {"labels.txt": b"a" * 64}), name="x.tflite")
