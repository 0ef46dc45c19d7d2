from __future__ import annotations

from pathlib import Path

import paramiko
import pytest

from fleet.adapters.ssh.host_keys import HostKeyFile
from fleet.errors import OutsideError
from fleet.ports import RobotAddress


def test_a_key_that_cannot_be_written_says_so(tmp_path: Path) -> None:
    (tmp_path / "not-a-folder").write_text("")
    pins = HostKeyFile(tmp_path / "not-a-folder" / "known_hosts")
    key = paramiko.ECDSAKey.generate()
    pins._lines = list  # type: ignore[method-assign, assignment]  # Reading fails there too, with other words.
    with pytest.raises(OutsideError, match="the host key cannot be written") as caught:
        pins.pin(RobotAddress("amr-001", "10.0.0.11", 22, "jetson"), key)
    assert "permissions" in caught.value.hint
