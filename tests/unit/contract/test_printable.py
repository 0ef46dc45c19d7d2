"""What somebody else says reaches a terminal as text, and as nothing else."""

from __future__ import annotations

import pytest

from runtime.contract.printable import printable, printable_colours, printable_lines, unicode_text

OSC52 = "\x1b]52;c;Y3VybCBldmlsfHNo\x1b\\"


@pytest.mark.parametrize(
    "hostile",
    [
        OSC52,
        "\x1b[2K\x1b[1A",
        "\x9b31m",
        "\x07",
        "\x08\x08",
        "\u202e",
        "\u2066",
        "\u200b",
        "\ud800",
        "\U000e0041",
        "\x7f",
    ],
)
def test_nothing_that_is_no_text_stays(hostile: str) -> None:
    for shown in (printable(f"camera{hostile}ok"), printable_lines(f"camera{hostile}ok")):
        assert shown.encode("utf-8")
        assert shown.startswith("camera\ufffd")
        assert not any(ord(char) < 32 or 0x7F <= ord(char) < 0xA0 for char in shown)


def test_a_line_stays_one_line_and_can_be_cut() -> None:
    assert printable("a\r\nrobot-2 committed\tb") == "a robot-2 committed b"
    assert printable("x" * 100, 10) == "x" * 9 + "…"
    assert printable("größer 日本 😀") == "größer 日本 😀"


def test_lines_and_tabs_stay_where_they_are_meant() -> None:
    assert printable_lines("a\r\n\tb\rc") == "a\n\tb\ufffdc"


def test_colours_stay_on_request_and_end() -> None:
    text = f"\x1b[1;31mred\x1b[0m {OSC52}\x1b[2J"
    assert printable_colours(text) == "\x1b[1;31mred\x1b[0m \ufffd]52;c;Y3VybCBldmlsfHNo\ufffd\\\ufffd[2J\x1b[0m"
    assert printable_colours("plain") == "plain"


def test_data_is_left_alone_but_for_what_no_encoder_takes() -> None:
    assert unicode_text("\x1b[31m \ud83d\ude00 \ud800 ü") == "\x1b[31m 😀 \ufffd ü"


def test_colours_go_without_a_trace() -> None:
    assert printable("\x1b[1;31merror\x1b[0m: full") == "error: full"
    assert printable_lines("\x1b[38:5:1ma\x1b[m\n\x1b[2Jb") == "a\n\ufffd[2Jb"
