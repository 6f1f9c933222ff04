"""Who may ask for what: hosts, origins, tokens, and only known files of the folder."""

from __future__ import annotations

import signal
from importlib.util import find_spec

import pytest
from dashboard_server import ask, started

SECRET = "a-token-of-a-test-1234"


def test_answers_come_with_a_policy_that_allows_no_inline_script_and_no_other_host(address):
    status, headers, text = ask(address)
    assert status == 200
    policy = headers["content-security-policy"]
    assert "script-src 'self'" in policy
    assert "unsafe" not in policy
    assert "http" not in policy
    assert headers["x-content-type-options"] == "nosniff"
    assert "<script>" not in text
    assert "http://" not in text.replace("http://www.w3.org", "")


@pytest.mark.parametrize("host", ["evil.example", "evil.example:8750", "", "127.0.0.1.evil.example", "[::1"])
def test_another_host_is_refused(address, host):
    assert ask(address, Host=host)[0] == 400


def test_a_page_of_another_site_is_refused(address):
    assert ask(address, Origin="http://evil.example")[0] == 403
    assert ask(address, Origin="null")[0] == 403
    assert ask(address, Origin=address.rstrip("/"))[0] == 200


@pytest.mark.parametrize(
    "path",
    [
        "/file?at=../outside&name=report.json",
        "/file?at=build-1&name=../../../../outside/report.json",
        "/file?at=build-1&name=run.json",
        "/file?at=build-1&name=release.key",
        "/file?at=linked&name=report.json",
        "/file?at=link-file&name=report.json",
        "/file?at=%00&name=report.json",
        "/build?at=..",
        "/build?at=/etc",
        "/static/..%2fapp.py",
        "/static/../../app.py",
        "/live?at=nothing",
        "/search?at=build-1",
    ],
)
def test_nothing_but_known_files_of_the_folder_is_served(address, folder, path):
    outside = folder.parent / "outside"
    outside.mkdir(exist_ok=True)
    (outside / "report.json").write_text('{"private": "SECRET-VALUE"}')
    (folder / "build-1" / "release.key").write_text("SECRET-VALUE")
    for link, target in (
        (folder / "linked", outside),
        (folder / "link-file" / "report.json", outside / "report.json"),
    ):
        link.parent.mkdir(exist_ok=True)
        if not link.is_symlink():
            link.symlink_to(target)
    status, _, text = ask(address, path)
    assert status == 404
    assert "SECRET-VALUE" not in text


def test_a_report_is_served_apart_from_the_site_with_only_its_own_script(address):
    status, headers, text = ask(address, "/file?at=build-1&name=report.html")
    assert status == 200
    policy = headers["content-security-policy"]
    assert policy.startswith("sandbox allow-scripts; default-src 'none'")
    assert "script-src 'sha256-" in policy
    assert "top-1" in text
    page = ask(address, "/file?at=searches/first&name=search.html")
    assert page[0] == 200
    assert "script-src" not in page[1]["content-security-policy"]


def test_another_address_than_loopback_needs_the_token(folder):
    with started(folder, "--host", "0.0.0.0", EDGE_PIPELINE_DASHBOARD_TOKEN=SECRET) as process:
        address = process.stdout.readline().strip()
        assert address.endswith(f"/?token={SECRET}")
        local = address.replace("0.0.0.0", "127.0.0.1").partition("?")[0]
        assert ask(local)[0] == 401
        assert ask(local, "/?token=wrong")[0] == 401
        status, headers, _ = ask(local, f"/?token={SECRET}")
        assert status == 303
        assert headers["location"] == "/"
        cookie = headers["set-cookie"].partition(";")[0]
        assert "HttpOnly" in headers["set-cookie"]
        assert ask(local, Cookie=cookie)[0] == 200
        assert ask(local, Cookie=cookie, Host="evil.example")[0] == 400
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=120) == 130
        assert "Traceback" not in process.stderr.read()


def test_a_port_in_use_a_short_token_and_a_missing_folder_are_one_line(
    address, folder, pipeline, monkeypatch
):
    port = address.rstrip("/").rpartition(":")[2]
    ended = pipeline("dashboard", folder, "--port", port)
    assert ended.code == 2
    assert f"--port {port}" in ended.message
    assert "already in use" in ended.message
    monkeypatch.setenv("EDGE_PIPELINE_DASHBOARD_TOKEN", "short")
    ended = pipeline("dashboard", folder, "--host", "0.0.0.0", "--port", "0")
    assert ended.code == 2
    assert "EDGE_PIPELINE_DASHBOARD_TOKEN" in ended.message
    ended = pipeline("dashboard", folder / "none")
    assert ended.code == 3
    assert "no such folder" in ended.message


def test_a_missing_package_is_named_with_the_command_that_installs_it(pipeline, monkeypatch, folder):
    missing = {"starlette", "uvicorn"}
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None if name in missing else find_spec(name))
    ended = pipeline("dashboard", folder)
    assert ended.code == 4
    assert "starlette and uvicorn" in ended.message
    assert "'.[dashboard]'" in ended.message
