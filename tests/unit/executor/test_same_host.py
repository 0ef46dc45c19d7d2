"""Which publishers Fast DDS takes for ones on another host. GUIDs as rclpy 9.1 with Fast DDS 3.2 gave them."""

from __future__ import annotations

from runtime.executor.inputs.same_host import host_of, others

OURS = bytes.fromhex("010f41e1985f09430000000000001304")
SAME = bytes.fromhex("010f41e1f45e089b0000000000001303")
BEFORE = bytes.fromhex("010f7f01355a7c760000000000001303")
"""Of a process that had started before the interface had its address."""
CYCLONE = bytes.fromhex("0110a1b2c3d4e5f60000000000001303")


def test_the_hosts_part_follows_the_vendors() -> None:
    assert (host_of(OURS), host_of(list(SAME)), host_of(BEFORE)) == (b"\x41\xe1", b"\x41\xe1", b"\x7f\x01")
    assert (host_of(CYCLONE), host_of(b"\x01\x0f"), host_of(b"")) == (None, None, None)
    assert host_of(OURS + bytes(8)) == b"\x41\xe1"  # Humble's are 24 bytes


def test_only_publishers_of_another_host_are_told_each_once_by_name() -> None:
    publishers = [("/lidar", BEFORE), ("/camera", BEFORE), ("/camera", BEFORE), ("/near", SAME), ("/other", CYCLONE)]
    assert others([OURS], publishers) == ("/camera", "/lidar")
    assert others([OURS], [("/near", SAME)]) == ()


def test_what_cannot_be_told_is_not() -> None:
    assert others([], [("/camera", BEFORE)]) == ()
    assert others([CYCLONE], [("/camera", BEFORE)]) == ()
