"""What is an answer and what is noise, however the bytes are cut."""

from __future__ import annotations

import subprocess
from itertools import pairwise

import pytest

from fleet.adapters.ssh.fence import Cutter, Fence

FENCE = Fence("0123456789abcdef")


def cut(data: bytes, at: list[int]) -> tuple[bytes, Cutter]:
    cutter = Cutter(FENCE)
    places = [0, *at, len(data)]
    answer = b"".join(cutter.feed(data[start:end]) for start, end in pairwise(places))
    return answer + cutter.rest(), cutter


@pytest.mark.parametrize("answer", [b"", b"x", b"one\ntwo\n", FENCE.end[:-1], FENCE.end[:5] * 3, b"\0\xff" * 40])
@pytest.mark.parametrize("noise", [b"", b"Welcome\n", b"half a line ", FENCE.begin[:-1]])
def test_an_answer_comes_out_whole_wherever_it_is_cut(answer: bytes, noise: bytes) -> None:
    data = noise + FENCE.begin + answer + FENCE.end + b"7\nbye\n"
    for place in range(len(data)):
        found, cutter = cut(data, [place])
        assert found == answer
        assert cutter.exit_code == 7
        assert cutter.noise == noise + b"bye\n"
    found, cutter = cut(data, list(range(1, len(data))))
    assert (found, cutter.exit_code, cutter.noise) == (answer, 7, noise + b"bye\n")


def test_a_stream_that_ends_in_the_middle_gives_what_there_is() -> None:
    answer, cutter = cut(FENCE.begin + b"partial" + FENCE.end[:9], [3])
    assert answer == b"partial" + FENCE.end[:9]
    assert (cutter.exit_code, cutter.ended) == (None, False)


def test_endless_noise_is_not_kept_and_the_mark_behind_it_is_found() -> None:
    cutter = Cutter(FENCE)
    for _ in range(300):
        assert cutter.feed(b"x" * 1000) == b""
    assert cutter.feed(FENCE.begin + b"answer") == b"answer"
    assert len(cutter.noise) <= 4096


def test_an_answer_that_never_begins_is_somebody_elses_words() -> None:
    answer, cutter = cut(b"This account is currently not available.\n", [7])
    assert answer == b""
    assert cutter.unfenced() == "This account is currently not available."


@pytest.mark.parametrize("takes_input", [True, False])
def test_the_script_is_one_command_for_sh(takes_input: bool) -> None:
    script = FENCE.script(["sh", "-c", "cat; exit 3"], takes_input=takes_input)
    assert script.startswith(b"{ ")
    assert script.endswith(b"}\n")
    done = subprocess.run(["sh", "-n"], input=script, capture_output=True, timeout=30, check=False)
    assert (done.returncode, done.stderr) == (0, b"")
