"""The ways to a device that a machine without one has: itself, and an sshd of its own where it has one."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from conformance import Conformance

from deploy.errors import AddressError, TransportError
from deploy.transports.adb import AdbTransport
from deploy.transports.addresses import open_transport
from deploy.transports.local import LocalTransport
from deploy.transports.ssh import SshTransport

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from deploy.transports.transport import Transport


class TestLocal(Conformance):
    @pytest.fixture
    def transport(self) -> LocalTransport:
        return LocalTransport()

    @pytest.fixture
    def there(self, tmp_path_factory: pytest.TempPathFactory) -> str:
        return str(tmp_path_factory.mktemp("device"))


class TestSshd(Conformance):
    @pytest.fixture
    def transport(self, ssh_device) -> Iterator[Transport]:
        transport = open_transport(ssh_device.address)
        yield transport
        transport.close()

    @pytest.fixture
    def there(self, tmp_path_factory: pytest.TempPathFactory) -> str:
        return str(tmp_path_factory.mktemp("device"))


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("ssh://pi@board:2222", SshTransport),
        ("adb://R58M12ABCDE", AdbTransport),
        ("adb://192.168.1.7:5555", AdbTransport),
        ("adb://", AdbTransport),
        ("local://", LocalTransport),
    ],
)
def test_an_address_gives_its_way_and_its_way_the_address(text: str, kind: type[Transport]):
    transport = open_transport(text)
    assert isinstance(transport, kind)
    assert str(transport) == text


@pytest.mark.parametrize(
    "text",
    ["", "rpi4", "adb://-s", "adb://a b", "adb://$(x)", "adb://a/b", "local:///x", "ssh://-oProxyCommand=x"],
)
def test_what_is_not_an_address_is_refused(text: str):
    with pytest.raises(AddressError, match=r"not an address of a device|not a valid host name"):
        open_transport(text)


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(TransportError, match=r"cannot write .*/absent/file: No such file or directory"):
        LocalTransport().pull(f"{tmp_path}/file", tmp_path / "absent/file")
