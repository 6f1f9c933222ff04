from __future__ import annotations

import contextlib
import io
import json
import os
import signal
import socket
import struct
import subprocess
import sys
import threading
import zipfile

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

RAW = np.random.default_rng(3).integers(0, 256, (20, 4, 4, 1)).astype(np.uint8)


def _npy(array, **more):
    stream = io.BytesIO()
    np.save(stream, array, **more)
    return stream.getvalue()


def _npz(**arrays):
    stream = io.BytesIO()
    np.savez_compressed(stream, **arrays)
    return stream.getvalue()


class Client:
    def __init__(self, path):
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(30)
        self.socket.connect(str(path))

    def ask(self, request):
        self.socket.sendall(struct.pack(">I", len(request)) + request)
        return self.answer()

    def answer(self):
        reply = self.socket.makefile("rb")
        (size,) = struct.unpack(">I", reply.read(4))
        return json.loads(reply.read(size))


@pytest.fixture
def client():
    """A function that connects to a socket; the connections end with the test."""
    with contextlib.ExitStack() as stack:

        def connect(path):
            made = Client(path)
            stack.enter_context(made.socket)
            return made

        yield connect


@pytest.fixture
def serve(tmp_path):
    """A function that starts a release's service as systemd does, and returns its process and its socket."""
    with contextlib.ExitStack() as stack:
        told = stack.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM))
        told.bind(str(tmp_path / "notify"))
        told.settimeout(60)

        def start(folder, *words, **environment):
            path = tmp_path / "model.sock"
            process = subprocess.Popen(
                [sys.executable, folder / "runner.py", "run", "--socket", path, *map(str, words)],
                env={**os.environ, "NOTIFY_SOCKET": str(tmp_path / "notify"), **environment},
                stderr=subprocess.PIPE,
                text=True,
            )
            stack.callback(process.communicate)
            stack.callback(process.kill)
            assert told.recv(100) == b"READY=1"
            process.told = told
            return process, path

        yield start


def _statistics(folder):
    return json.loads((folder.parents[1] / "state" / "statistics.json").read_text())


def test_it_answers_as_predict_does_and_ends_cleanly(installed, serve, client):
    process, path = serve(installed)
    asked = client(path)
    found = [asked.ask(_npy(sample)) for sample in RAW]
    predicted = subprocess.run(
        [sys.executable, "-c", _PREDICT], cwd=installed, input=_npy(RAW), capture_output=True, check=True
    )
    assert [reply["outputs"] for reply in found] == json.loads(predicted.stdout)
    assert all(reply["latency_us"] > 0 for reply in found)
    process.send_signal(signal.SIGTERM)
    assert process.wait(30) == 0
    assert _statistics(installed)["inferences"] == 20
    assert not path.exists()


_PREDICT = """
import io, json, sys
import numpy as np
import predict
from pathlib import Path
model = predict.Model(Path("."))
said = []
for sample in np.load(io.BytesIO(sys.stdin.buffer.read())):
    (values,) = model.predict(sample)
    label = predict.label_of(values, model.contract["outputs"][0], model.contract["labels"])
    best = [
        {"label": name, "value": float(values[place])}
        for place, name in predict.top(values, model.contract["outputs"][0], model.contract["labels"])
    ]
    said.append([{"name": "class", "label": label, "top": best, "values": values.tolist()}])
print(json.dumps(said))
"""


def test_several_clients_get_their_own_answers(installed, serve, client):
    _, path = serve(installed)
    alone = [client(path).ask(_npy(sample))["outputs"] for sample in RAW[:4]]
    wrong = []

    def ask(number):
        mine = Client(path)
        with mine.socket:
            for _ in range(30):
                if mine.ask(_npy(RAW[number]))["outputs"] != alone[number]:
                    wrong.append(number)

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_a_model_of_two_inputs_takes_an_npz(sum_release, serve, client, tmp_path):
    _, path = serve(sum_release, "--state", tmp_path / "state")
    asked = client(path)
    a, b = np.array([1, 2, 3, 4.0]), np.array([4, 4, 4, 4], np.int16)
    for request in (_npz(a=a, b=b), _npz(b=b, a=a, c=a)):
        assert asked.ask(request)["outputs"] == [
            {"name": "sum", "label": None, "top": [], "values": [5, 6, 7, 8]}
        ]
    for request in (
        _npy(a),
        _npz(a=a),
        _npz(a=a, b=b[:3]),
        _npz(a=a, b=b)[:-30],
        _npz(a=a, b=np.zeros(10**6)),
    ):
        assert "error" in asked.ask(request)
    bomb = io.BytesIO()
    with zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED) as members:
        members.writestr("a.npy", bytes(30_000_000))
        members.writestr("b.npy", _npy(b))
    assert "error" in asked.ask(bomb.getvalue())
    assert "error" not in asked.ask(_npz(a=a, b=b))


def test_a_row_of_numbers_is_taken_as_text_by_name_or_by_position(
    sum_release, with_columns, serve, client, tmp_path
):
    _, path = serve(with_columns(sum_release, tmp_path / "copy"))
    asked = client(path)
    row = {name: place for place, name in enumerate("hgfedcba")}
    numbers = [row[name] for name in "abcdefgh"]
    two = _npz(a=np.array(numbers[:4], np.float32), b=np.array(numbers[4:], np.float32))

    expected = asked.ask(two)["outputs"]

    assert expected[0]["values"] == [10, 8, 6, 4]
    for request in (
        json.dumps(row),
        json.dumps([row]),
        ",".join(map(str, numbers)),
        ",".join(row) + "\n" + ",".join(map(str, row.values())) + "\n",
    ):
        assert asked.ask(request.encode())["outputs"] == expected
    for request, said in {
        b'{"a": 1}': "request: no column 'b'; the model takes a, b, c",
        b"1,2,3": "request: row 1 has 3 values, the model takes 8",
        b"1,2,3,4,5,6,7,8\n1,2,3,4,5,6,7,8": "2 rows in one request; send a request for each",
        b"\xff\xfe1": "not a .npy file, and not a row of numbers as text in UTF-8",
    }.items():
        assert said in asked.ask(request)["error"]


def _picture(pixels, kind, **options):
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, kind, **options)
    return stream.getvalue()


def test_a_picture_of_any_size_is_taken_encoded_or_as_an_array(picture_release, serve, client, tmp_path):
    _, path = serve(picture_release)
    asked = client(path)
    pixels = np.random.default_rng(5).integers(0, 256, (1200, 1600)).astype(np.uint8)
    Image.fromarray(pixels).save(tmp_path / "photo.png")
    said = subprocess.run(
        [sys.executable, picture_release / "predict.py", tmp_path / "photo.png"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout

    answers = [asked.ask(request) for request in (_picture(pixels, "PNG"), _npy(pixels[..., np.newaxis]))]

    assert answers[0]["outputs"] == answers[1]["outputs"]
    (output,) = answers[0]["outputs"]
    assert len(output["top"]) == 3
    assert output["top"][0]["label"] == output["label"]
    best = ", ".join(f"{found['label']} ({found['value']:.3g})" for found in output["top"])
    assert said == f"photo.png  class: {best}\n"
    assert "outputs" in asked.ask(_picture(pixels, "JPEG", quality=80))


def test_a_picture_that_cannot_be_decoded_or_would_fill_the_memory_is_refused(picture_release, serve, client):
    _, path = serve(picture_release)
    asked = client(path)
    bomb = _picture(np.zeros((4000, 4000), np.uint8), "PNG")
    assert len(bomb) < 100_000
    for request, said in {
        b"\xff\xd8\xff\xe0 no picture": "picture: cannot be decoded: ",
        bomb: "picture: cannot be decoded: 4000x4000 pixels, more than 12582912 are not decoded",
        _npy(np.zeros((0, 5, 1), np.uint8)): "takes numbers of shape (4, 4, 1)",
        _npy(np.zeros((9, 9, 3), np.uint8)): "takes numbers of shape (4, 4, 1)",
        _npy(np.zeros((9, 9, 1), np.float32)): "takes numbers of shape (4, 4, 1)",
    }.items():
        assert said in asked.ask(request)["error"]
    assert "outputs" in asked.ask(_npy(RAW[0]))


def test_a_model_without_pictures_says_what_it_takes(installed, serve, client):
    _, path = serve(installed)

    error = client(path).ask(_picture(RAW[0, ..., 0], "PNG"))["error"]

    assert error == "picture: the model's input 'image' is not an image; give a .npy with shape [4, 4, 1]"


def test_a_request_that_is_no_sample_gets_an_error_and_the_next_an_answer(installed, serve, client, tmp_path):
    marker = tmp_path / "unpickled"

    class Pickled:
        def __reduce__(self):
            return os.mkdir, (str(marker),)

    header = _npy(RAW[0])[:10]
    huge = b"{'descr': '|u1', 'fortran_order': False, 'shape': (99999999999999,), }"
    requests = {
        b"": "not a .npy",
        b"GET / HTTP/1.1": "not a .npy",
        _npy(RAW[0])[:-1]: "15 bytes where 16",
        _npy(RAW[0]) + b"x": "17 bytes where 16",
        _npy(RAW[:2]): "takes numbers of shape (4, 4, 1)",
        _npy(RAW[0].astype(complex)): "takes numbers",
        _npy(np.full((4, 4, 1), np.nan)): "not all values are finite",
        _npy(np.array([Pickled()], object), allow_pickle=True): "takes numbers",
        header[:8] + struct.pack("<H", len(huge)) + huge: "takes numbers",
        header[:8] + b"\x10\x00" + b"(" * 16: "not a .npy",
        b"PK\x03\x04" + bytes(40): "not a .npz of image",
    }
    process, path = serve(installed)
    asked = client(path)
    for request, said in requests.items():
        assert said in asked.ask(request)["error"]
    assert not marker.exists()
    for values in (RAW[0], RAW[:1], np.asfortranarray(RAW[0]), RAW[0].astype(">f8")):
        assert asked.ask(_npy(values))["outputs"] == client(path).ask(_npy(RAW[0]))["outputs"]
    process.send_signal(signal.SIGTERM)
    assert process.wait(30) == 0
    text = (installed.parents[1] / "state" / "metrics.prom").read_text()
    assert f'edge_model_errors_total{{name="tiny"}} {len(requests)}\n' in text


def test_a_request_larger_than_a_sample_ends_that_connection_alone(installed, serve, client):
    _, path = serve(installed)
    other, asked = client(path), client(path)
    asked.socket.sendall(b"\xff\xff\xff\xff")
    assert "4294967295 bytes, a sample has at most" in asked.answer()["error"]
    assert asked.socket.recv(1) == b""
    asked = client(path)
    asked.socket.sendall(b"\0\0")
    asked.socket.close()
    assert "outputs" in other.ask(_npy(RAW[0]))


def test_more_clients_than_places_are_told_so(installed, serve, client):
    _, path = serve(installed)
    clients = [client(path) for _ in range(16)]
    assert all("outputs" in each.ask(_npy(RAW[0])) for each in clients)
    assert client(path).answer() == {"error": "too many clients"}
    assert "outputs" in clients[3].ask(_npy(RAW[0]))


def test_whatever_is_sent_it_goes_on(installed, serve, client):
    process, path = serve(installed)
    whole = _npy(RAW[0])

    def changed(place_and_byte):
        place, byte = place_and_byte
        return whole[:place] + bytes([byte]) + whole[place + 1 :]

    places = st.tuples(st.integers(0, len(whole) - 1), st.integers(0, 255))
    requests = st.one_of(
        st.binary(max_size=300),
        places.map(changed),
        st.integers(0, len(whole)).map(lambda size: whole[:size]),
        st.binary(max_size=200).map(lambda content: b"PK\x03\x04" + content),
    )
    asked = client(path)

    @settings(max_examples=150, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(requests)
    def send(request):
        reply = asked.ask(request)
        assert ("error" in reply) != ("outputs" in reply)

    send()
    assert "outputs" in asked.ask(whole)
    assert process.poll() is None


def test_the_watchdog_is_told_that_it_lives(installed, serve):
    process, _ = serve(installed, WATCHDOG_USEC="200000")
    assert [process.told.recv(100) for _ in range(3)] == [b"WATCHDOG=1"] * 3
    process.send_signal(signal.SIGTERM)
    while (told := process.told.recv(100)) == b"WATCHDOG=1":
        pass
    assert told == b"STOPPING=1"
    assert process.wait(30) == 0


def test_it_ends_for_another_start_where_another_version_became_current(installed, serve, client):
    process, path = serve(installed, WATCHDOG_USEC="200000")
    client(path).ask(_npy(RAW[0]))
    current = installed.parents[1] / "current"
    (installed.parent / ("0" * 64)).mkdir()
    current.unlink()
    current.symlink_to(f"releases/{'0' * 64}")
    assert process.wait(30) == 75
    assert _statistics(installed)["inferences"] == 1


def test_a_socket_is_taken_from_a_killed_service_and_from_no_other(installed, serve, client, runner):
    process, path = serve(installed)
    second = runner(installed, "run", "--socket", path)
    assert second.returncode == 1
    assert "another process answers there" in second.stderr
    assert "no statistics are kept" in second.stderr
    process.kill()
    process.wait()
    assert path.is_socket()
    _, path = serve(installed)
    assert "outputs" in client(path).ask(_npy(RAW[0]))


def test_a_socket_that_cannot_be_made_is_one_line(installed, runner, tmp_path):
    for path in (tmp_path / "no" / "folder", tmp_path / ("x" * 200)):
        ran = runner(installed, "run", "--socket", path)
        assert ran.returncode == 1
        said = [line for line in ran.stderr.splitlines() if not line.startswith("INFO:")]
        assert len(said) == 1, said
        assert str(path) in said[0]
