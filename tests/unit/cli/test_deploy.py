"""``pipeline deploy`` on real releases, and on folders of this machine that a program reaches as adb does."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest

from deploy.keys import fingerprint, generate_key
from deploy.manifest import digest_of
from pipeline.release.manifest import counter_of

NOT_NEEDED = ("tensorflow", "tf_keras", "keras", "ai_edge_litert", "tflite_runtime", "h5py", "scipy")
ROOT = "/this/device"  # as conftest's devices call their folder


@pytest.fixture
def release(signed_release):
    return signed_release


@pytest.fixture
def devices(adb_devices):
    return adb_devices


@pytest.fixture(autouse=True)
def public(release, monkeypatch, tmp_path):
    """The key that the environment names; the command runs in an empty folder."""
    monkeypatch.chdir(tmp_path)
    key = release().parents[1] / "release.pub"
    monkeypatch.setenv("EDGE_PIPELINE_PUBLIC_KEY", str(key))
    return key


def to(*serials):
    return ["--root", ROOT, "--python", sys.executable, *(f"--to=adb://{serial}" for serial in serials)]


def active(devices, serial):
    return (devices / serial / "tiny/current").readlink().name


def test_one_device_gets_the_release(release, devices, pipeline):
    ended = pipeline("deploy", release(), *to("one"))

    digest = digest_of(release())
    assert (ended.code, ended.err) == (0, "")
    assert active(devices, "one") == digest
    assert f"adb://one → {digest[:12]} 1.0.0 installed" in " ".join(ended.out.split())


def test_the_same_again_changes_nothing(release, devices, pipeline):
    pipeline("deploy", release(), *to("one"))
    ended = pipeline("deploy", release(), *to("one"))

    assert (ended.code, ended.err) == (0, "")
    assert "already active" in ended.out


def test_an_upgrade_and_the_way_back_are_told_by_digest(release, devices, pipeline):
    old, new = digest_of(release()), digest_of(release("1.1.0", 1_001_000))
    pipeline("deploy", release(), *to("one"))
    ended = pipeline("deploy", release("1.1.0", 1_001_000), *to("one"))
    assert f"adb://one {old[:12]} → {new[:12]} 1.1.0 installed" in " ".join(ended.out.split())
    assert active(devices, "one") == new

    listed = pipeline("deploy", "list", "tiny", *to("one"))
    rows = [" ".join(line.split()) for line in listed.out.splitlines()]
    assert any("1.1.0 1001000 arm64" in row and row.endswith("active") for row in rows)
    assert any("1.0.0 1000000 arm64" in row and row.endswith("previous") for row in rows)

    ended = pipeline("deploy", "rollback", "tiny", *to("one"))
    assert (ended.code, ended.err) == (0, "")
    assert f"adb://one {new[:12]} → {old[:12]} rolled back" in " ".join(ended.out.split())
    assert active(devices, "one") == old


def test_a_rollback_that_names_the_bad_version_can_be_repeated(release, devices, pipeline):
    old, new = release(), release("1.1.0", 1_001_000)
    for path in (old, new):
        pipeline("deploy", path, *to("one"))
    words = ["deploy", "rollback", "tiny", "--from", digest_of(new)[:12], *to("one")]

    assert "rolled back" in pipeline(*words).out
    assert "already active" in pipeline(*words).out
    assert active(devices, "one") == digest_of(old)


def test_a_release_follows_its_candidate_and_is_not_followed_by_it(release, devices, pipeline):
    candidate, final = (release(version, counter_of(version)) for version in ("1.2.0-rc1", "1.2.0"))

    assert [pipeline("deploy", one, *to("one")).code for one in (candidate, final)] == [0, 0]
    assert active(devices, "one") == digest_of(final)
    assert pipeline("deploy", candidate, *to("one")).code == 6


def test_json_is_one_object_with_every_device(release, devices, pipeline, public):
    ended = pipeline("deploy", release(), *to("one", "two"), "--json")
    found = json.loads(ended.out)

    digest = digest_of(release())
    assert {key: found[key] for key in ("name", "version", "target", "digest", "signed_by")} == {
        "name": "tiny", "version": "1.0.0", "target": "arm64", "digest": digest,
        "signed_by": fingerprint(public),
    }  # fmt: skip
    assert [(one["address"], one["state"], one["before"], one["after"]) for one in found["devices"]] == [
        ("adb://one", "installed", None, digest),
        ("adb://two", "installed", None, digest),
    ]


def test_a_fleet_ends_with_a_table_and_what_failed(release, devices, pipeline):
    ended = pipeline(
        "deploy", release(), *to("one", "missing", "two", "three"), "--parallel", 1, "--max-failures", 1
    )

    assert ended.code == 5
    rows = {line.split()[0]: line for line in ended.out.splitlines() if line.startswith("adb://")}
    assert "installed" in rows["adb://one"]
    assert "failed" in rows["adb://missing"]
    assert all("not begun" in rows[f"adb://{serial}"] for serial in ("two", "three"))
    first, last = ended.err.splitlines()
    assert first.startswith("adb://missing: adb knows no device")
    assert last.startswith(
        "pipeline: 1 of 4 devices failed: adb://missing; not begun: 2; run the same command"
    )
    assert not list(devices.glob("three/*"))


def test_a_canary_that_is_not_healthy_spares_the_fleet(release, devices, pipeline):
    pipeline("deploy", release(), *to("one", "two"))
    ended = pipeline("deploy", release("1.2.0", 1_002_000, wrong=5), *to("one", "two"))

    assert ended.code == 5
    assert "is not healthy there" in ended.err
    assert {active(devices, serial) for serial in ("one", "two")} == {digest_of(release())}


def test_one_device_that_fails_ends_with_its_own_line_and_code(release, devices, pipeline):
    ended = pipeline("deploy", release(), *to("missing"))

    assert (ended.code, ended.out) == (5, "")
    assert ended.message.startswith("pipeline: adb knows no device adb://missing")


def test_an_older_release_is_refused_unless_it_is_asked_for(release, devices, pipeline):
    pipeline("deploy", release("1.1.0", 1_001_000), *to("one", "two"))

    assert pipeline("deploy", release(), *to("one")).code == 6
    assert pipeline("deploy", release(), *to("one", "two"), "--canary", 0, "--max-failures", 2).code == 6
    assert active(devices, "one") == digest_of(release("1.1.0", 1_001_000))
    assert pipeline("deploy", release(), *to("one", "two"), "--allow-downgrade").code == 0
    assert active(devices, "two") == digest_of(release())


def test_a_downgrade_among_other_failures_is_a_device_error(release, devices, pipeline):
    pipeline("deploy", release("1.1.0", 1_001_000), *to("one"))

    assert pipeline("deploy", release(), *to("one", "missing"), "--canary=0", "--max-failures=2").code == 5


def test_devices_of_a_file_and_of_options_are_each_done_once(release, devices, pipeline):
    Path("fleet.txt").write_text("# two of them\nadb://two\nadb://one # again\n")
    ended = pipeline("deploy", release(), *to("one", "one"), "--to-file", "fleet.txt", "--json")

    assert [one["address"] for one in json.loads(ended.out)["devices"]] == ["adb://one", "adb://two"]


def test_status_tells_what_is_active_and_whether_it_is_healthy(release, devices, pipeline):
    pipeline("deploy", release(), *to("one"))
    ended = pipeline("deploy", "status", "tiny", *to("one", "two"), "--json")
    found = json.loads(ended.out)["devices"]

    assert ended.code == 0
    assert found["adb://one"]["active"]["digest"] == digest_of(release())
    assert (found["adb://one"]["healthy"], found["adb://two"]["healthy"]) == (True, None)
    assert "yes" in pipeline("deploy", "status", "tiny", *to("one")).out


def test_a_version_that_is_ill_is_told_and_ends_with_5(release, devices, pipeline):
    pipeline("deploy", release(), *to("one"))
    (devices / "one/tiny/current/labels.txt").write_text("x\ny\nz\n")
    ended = pipeline("deploy", "status", "tiny", *to("one"))

    assert ended.code == 5
    assert "tiny is not healthy on adb://one" in ended.message
    assert "no" in ended.out.split()


def test_a_device_that_does_not_answer_hides_none_of_the_others(release, devices, pipeline):
    pipeline("deploy", release(), *to("one"))
    ended = pipeline("deploy", "list", "tiny", *to("missing", "one"), "--json")

    assert ended.code == 5
    assert len(json.loads(ended.out)["devices"]["adb://one"]) == 1
    assert "adb knows no device" in json.loads(ended.out)["problems"]["adb://missing"]


def test_prune_keeps_what_is_active_and_what_was(release, devices, pipeline):
    versions = [("1.0.0", 1_000_000), ("1.1.0", 1_001_000), ("1.3.0", 1_003_000)]
    for version in versions:
        pipeline("deploy", release(*version), *to("one"))
    ended = pipeline("deploy", "prune", "tiny", *to("one"))

    assert ended.code == 0
    assert digest_of(release())[:12] in ended.out
    left = {path.name for path in (devices / "one/tiny/releases").iterdir()}
    assert left == {digest_of(release(*version)) for version in versions[1:]}
    assert pipeline("deploy", "prune", "tiny", "--keep", 1, *to("one")).code == 2


def test_of_several_devices_one_has_to_be_named(release, devices, pipeline):
    ended = pipeline("deploy", release(), "--to", "adb://")

    assert ended.code == 5
    assert "adb:// is one of 3 devices; say which: adb://one (device), adb://three (device)" in ended.message


def test_the_only_device_needs_no_serial(release, devices, pipeline):
    for serial in ("two", "three"):
        (devices / serial).rmdir()

    assert pipeline("deploy", release(), *to("")).code == 0
    found = json.loads(pipeline("deploy", "list", "tiny", *to(""), "--json").out)
    assert [one["is_active"] for one in found["devices"]["adb://"]] == [True]


@pytest.mark.parametrize("command", ["status", "list", "rollback", "prune"])
@pytest.mark.parametrize(
    "name", ["a;reboot", "$(x)", "`x`", "-rf", "a\nb", "a\n", "../x", "", ".x", "a" * 65]
)
def test_what_is_no_name_is_refused_in_one_line_before_anything(devices, pipeline, command, name):
    ended = pipeline("deploy", command, *to("one"), "--", name)

    assert (ended.code, ended.out) == (2, "")
    assert "is not a release's name" in ended.message
    assert not (devices / "log").exists()


@pytest.mark.parametrize(
    "words",
    [
        ["--root", "/data/local/tmp/../../x"],
        ["--root", "relative"],
        ["--root", "/a\nb"],
        ["--benchmark", "bin/benchmark_model"],
        ["--python", "-c"],
        ["--python", "python 3"],
        ["--to", "ssh://-oProxyCommand=x"],
        ["--to", "ssh://user@-oProxyCommand=x"],
        ["--to", "adb://a;b"],
        ["--to", "kitchen"],
        ["--to", "ftp://kitchen"],
        ["--parallel", "0"],
        ["--max-failures", "0"],
    ],
)
def test_options_that_no_device_can_take_are_refused_before_anything(release, devices, pipeline, words):
    ended = pipeline("deploy", release(), "--to", "adb://one", *words)

    assert (ended.code, ended.out) == (2, "")
    assert ended.message.isprintable()
    assert not (devices / "log").exists()


def test_without_a_device_nothing_is_done(release, pipeline):
    assert "--to" in pipeline("deploy", release()).message
    assert pipeline("deploy", "status", "tiny").code == 2


@pytest.mark.parametrize("damage", ["signature", "file", "extra", "stranger"])
def test_a_release_that_is_not_what_was_signed_reaches_no_device(
    release, devices, pipeline, tmp_path, damage
):
    folder = tmp_path / release().name
    subprocess.run(["cp", "-r", release(), folder], check=True)
    if damage == "signature":
        (folder / "release.sig").unlink()
    if damage == "file":
        (folder / "labels.txt").write_text("x\n")
    if damage == "extra":
        (folder / "more").write_text("")
    key = []
    if damage == "stranger":
        generate_key(tmp_path / "other.key", tmp_path / "other.pub")
        key = ["--public-key", tmp_path / "other.pub"]
    ended = pipeline("deploy", folder, *to("one"), *key)

    assert (ended.code, ended.out) == (6, "")
    assert ended.message
    assert not (devices / "log").exists()


def test_the_board_has_to_be_up(release, pipeline, monkeypatch, tmp_path):
    monkeypatch.setenv("EDGE_PIPELINE_CACHE", str(tmp_path))
    ended = pipeline("deploy", release(), "--to", "board")

    assert (ended.code, ended.out) == (5, "")
    assert "pipeline device up" in ended.message


def test_the_key_may_be_that_of_the_configuration(release, devices, pipeline, public, monkeypatch):
    monkeypatch.delenv("EDGE_PIPELINE_PUBLIC_KEY")
    ended = pipeline("deploy", release(), *to("one"))
    assert (ended.code, ended.out) == (2, "")
    assert "pipeline keygen" in ended.message

    Path("pipeline.toml").write_text(f'[release]\npublic_key = "{public}"\n')
    assert pipeline("deploy", release(), *to("one")).code == 0


@pytest.mark.parametrize("text", ["[release]\npublic_key = 3\n", "release = 3\n", "no toml"])
def test_a_configuration_without_a_key_is_told(release, pipeline, monkeypatch, text):
    monkeypatch.delenv("EDGE_PIPELINE_PUBLIC_KEY")
    Path("pipeline.toml").write_text(text)

    assert pipeline("deploy", release(), *to("one")).code == 2
    assert pipeline("deploy", release(), *to("one")).message


def test_a_folder_that_is_called_as_a_command_is_written_with_a_dot(pipeline):
    assert "No such file" in pipeline("deploy", "./status", *to("one")).message
    assert pipeline("deploy", "nowhere", *to("one")).code in (3, 6)


def test_help_shows_both_forms(pipeline):
    ended = pipeline("deploy", "-h")

    assert ended.code == 0
    assert "pipeline deploy RELEASE --to ADDRESS..." in ended.out
    assert "pipeline deploy status|list|rollback|prune NAME" in ended.out
    assert "--allow-downgrade" in ended.out
    assert "--allow-downgrade" in pipeline("deploy", "nowhere", "-h").out
    assert pipeline("deploy").err == ended.out


def test_deploying_loads_no_tensorflow(release, devices):
    program = (
        "import sys\n"
        "from pipeline.cli import main\n"
        f"sys.argv = {['pipeline', 'deploy', str(release()), *to('one')]!r}\n"
        "try:\n    main()\n"
        "except SystemExit as ended:\n    assert not ended.code\n"
        f"print([name for name in {NOT_NEEDED} if name in sys.modules])\n"
    )
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert ran.stdout.splitlines()[-1] == "[]"


def test_an_interrupt_shows_what_was_done_and_the_same_command_goes_on(release, devices, pipeline):
    words = ["deploy", str(release()), *to("one", "two", "three"), "--parallel", "1", "--json"]
    process = subprocess.Popen(
        [Path(sys.executable).with_name("pipeline"), *words],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    deadline = time.monotonic() + 120
    while not (devices / "two/tiny/.lock").exists():
        assert time.monotonic() < deadline
        time.sleep(0.01)
    process.send_signal(2)
    out, err = process.communicate(timeout=60)

    assert process.returncode == 130
    assert [one["state"] for one in json.loads(out)["devices"]] == ["installed", "installed", "not begun"]
    assert err.splitlines()[-1] == "pipeline: interrupted; run the same command again to continue"
    assert not (devices / "two/tiny/.lock").exists()
    states = [one["state"] for one in json.loads(pipeline(*words).out)["devices"]]
    assert states == ["already active", "already active", "installed"]


def test_the_reference_page_lists_every_option_of_every_command():
    from pipeline.cli.deploy import RELEASE, deploy, deploy_release

    page = Path(__file__).parents[3] / "docs/reference/deploying.md"
    rows = [line.split("|")[1:3] for line in page.read_text().splitlines() if line.startswith("| `--")]
    listed = {option.strip(" `").split()[0]: commands for option, commands in rows}
    commands = {RELEASE: deploy_release, **deploy.commands}
    for name, command in commands.items():
        known = {flag for one in command.params for flag in one.opts if flag.startswith("--")} - {"--debug"}
        assert known == {
            flag for flag, of in listed.items() if {"all", f"`{name}`"} & set(of.replace(",", " ").split())
        }, name  # fmt: skip
