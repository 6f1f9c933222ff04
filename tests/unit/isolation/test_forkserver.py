"""Children that are forked from a process which has TensorFlow in memory."""

from __future__ import annotations

import errno
import os
import sys

import pytest

from pipeline.isolation import forkserver, sandbox


def run(expression):
    return sandbox.run("convert", eval, expression, timeout_s=600.0)


@pytest.fixture
def server():
    """The server's process, running."""
    run("0")
    return forkserver._server._process


def test_a_child_has_tensorflow_in_memory_and_its_parent_has_not(server):
    parents = 'import sys; from pipeline.isolation import sandbox\nif __name__ == "__main__":\n'
    assert run("'tensorflow_model_optimization' in __import__('sys').modules")
    program = f"{parents} sandbox.run('x', eval, '0', timeout_s=600)\n assert 'tensorflow' not in sys.modules"
    assert os.spawnv(os.P_WAIT, sys.executable, [sys.executable, "-c", program]) == 0


def test_all_children_come_from_one_server_and_what_one_does_the_next_does_not_see(server):
    assert run("__import__('builtins').__dict__.update(left=1)") is None
    assert run("'left' in __import__('builtins').__dict__") is False
    assert forkserver._server._process is server


def test_a_child_has_the_folder_and_the_environment_of_now(server, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OF_NOW", "1")
    assert run("__import__('os').getcwd()") == str(tmp_path)
    assert run("__import__('os').environ['OF_NOW']") == "1"
    assert forkserver._server._process is server


def test_settings_that_tensorflow_reads_at_import_start_another_server(server, monkeypatch):
    monkeypatch.setenv("TF_ENABLE_ONEDNN_OPTS", "0")
    assert run("__import__('os').environ['TF_ENABLE_ONEDNN_OPTS']") == "0"
    assert forkserver._server._process is not server
    assert server.poll() is not None


def test_a_server_that_has_died_is_replaced(server):
    server.kill()
    server.wait()
    assert run("1 + 1") == 2
    assert run("'tensorflow' in __import__('sys').modules")


def test_without_a_server_a_child_is_a_new_interpreter(monkeypatch):
    forkserver.stop()
    monkeypatch.setattr(forkserver, "_START", "import sys; sys.exit(1)")
    assert run("'tensorflow' in __import__('sys').modules") is False


def test_where_the_kernel_has_no_pidfds_no_server_is_started(monkeypatch):
    def refuse(pid):
        raise OSError(errno.ENOSYS, "Function not implemented")

    forkserver.stop()
    monkeypatch.setattr(forkserver, "_has_pidfds", forkserver._has_pidfds.__wrapped__)
    monkeypatch.setattr(os, "pidfd_open", refuse)
    assert run("1 + 1") == 2
    assert forkserver._server is None
