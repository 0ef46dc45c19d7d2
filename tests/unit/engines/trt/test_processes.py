"""Real processes that end, fail, hang and are killed; real locks."""

from __future__ import annotations

import dataclasses
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from runtime.contract.codec import canonical_json
from runtime.contract.engine.build import BuildFailure, DeviceFacts
from runtime.contract.engine.timing import MAX_TIMING_BYTES, TimingFacts, timing_file, timing_name
from runtime.engines.errors import EngineError
from runtime.engines.tensorrt_.build.builder import build_plan, time_left
from runtime.engines.tensorrt_.build.request import PlanAnswer, PlanRequest
from runtime.engines.tensorrt_.build.supervise import oom_kills, supervise
from runtime.engines.tensorrt_.build.timing_cache import CacheFiles, calibration_key, given_caches, timing_facts

PYTHON = sys.executable
GIB = 1 << 30


def script(text: str) -> list[str]:
    return [PYTHON, "-c", text]


def request(**changes: object) -> PlanRequest:
    return PlanRequest("graph", "plan", "layers", "fp32", GIB, **changes)  # type: ignore[arg-type]


def test_lines_are_passed_on_as_they_come() -> None:
    lines: list[str] = []
    text = "import sys; print('one', flush=True); print('two', file=sys.stderr); sys.exit(7)"
    ended = supervise(script(text), deadline_s=30, progress=lines.append)
    assert (ended.code, ended.past_deadline, ended.was_killed) == (7, False, False)
    assert sorted(lines) == ["one", "two"]
    assert ended.tail == "\n".join(lines)


def test_a_child_that_hangs_is_ended_with_what_it_started() -> None:
    text = "import subprocess, time; print(subprocess.Popen(['sleep', '600']).pid, flush=True); time.sleep(600)"
    lines: list[str] = []
    ended = supervise(script(text), deadline_s=5, progress=lines.append)
    assert ended.past_deadline
    assert not ended.was_killed
    deadline = time.monotonic() + 60
    while _alive(int(lines[0])) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not _alive(int(lines[0]))


def _alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def test_a_child_that_closes_its_output_and_hangs_is_ended_too() -> None:
    text = "import os, time; os.close(1); os.close(2); time.sleep(600)"
    assert supervise(script(text), deadline_s=1.0, progress=print).past_deadline


def test_silence_is_said() -> None:
    lines: list[str] = []
    supervise(script("import time; time.sleep(1.2)"), deadline_s=30, progress=lines.append, quiet_s=0.3)
    assert lines
    assert all(line.startswith("still building after") and "MiB" in line for line in lines)


def test_an_interruption_leaves_no_child(tmp_path: Path) -> None:
    def interrupt(line: str) -> None:
        (tmp_path / "pid").write_text(line)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        supervise(script("import os, time; print(os.getpid(), flush=True); time.sleep(600)"), deadline_s=60,
                  progress=interrupt)  # fmt: skip
    assert not _alive(int((tmp_path / "pid").read_text()))


def test_the_kernel_s_count_is_read(tmp_path: Path) -> None:
    for name, content in (("sys/fs/cgroup/memory.events", "oom 4\noom_kill 2\n"), ("proc/vmstat", "oom_kill 3\nx 1\n")):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(content)
    assert oom_kills(tmp_path) == 5
    assert oom_kills(tmp_path / "nowhere") == 0


ANSWER = canonical_json(
    PlanAnswer(
        1.0, strongly_typed=False, timing_cache_in=0, timing_cache_out=0, timing_refused=0, inputs=(), outputs=()
    )
)
KILL_ABOVE = """
import json, os, pathlib, signal, sys
asked = json.loads(pathlib.Path(sys.argv[1]).read_bytes())
if asked["workspace_bytes"] > {limit}:
    os.kill(os.getpid(), signal.SIGKILL)
pathlib.Path(sys.argv[2]).write_bytes({answer!r})
"""


def test_a_killed_build_is_tried_once_more_with_a_quarter() -> None:
    lines: list[str] = []
    command = script(KILL_ABOVE.format(limit=GIB // 2, answer=ANSWER))
    answer, answered = build_plan(request(), deadline_s=30, progress=lines.append, command=command)
    assert answer.seconds == 1.0
    assert answered.workspace_bytes == GIB // 4
    assert lines[0].endswith("trying again with a workspace of 256 MiB")


def test_a_build_that_is_killed_twice_says_so() -> None:
    command = script(KILL_ABOVE.format(limit=0, answer=ANSWER))
    with pytest.raises(EngineError, match="also with a workspace of 256 MiB") as caught:
        build_plan(request(), deadline_s=30, progress=print, command=command)
    assert caught.value.kind == "memory"


@pytest.mark.parametrize(("whole", "spent", "left"), [(3600, 100, 3440), (100, 0, 90), (100, 89, 1)])
def test_tensorrt_gets_what_the_rest_of_the_job_leaves(whole: float, spent: float, left: float) -> None:
    assert time_left(whole, spent) == pytest.approx(left)


def test_no_time_left_for_tensorrt_is_said() -> None:
    with pytest.raises(EngineError, match=r"took 91 s of 100 s") as caught:
        time_left(100, 91)
    assert "builder.timeout" in caught.value.hint


def test_past_the_deadline_names_the_seconds() -> None:
    with pytest.raises(EngineError, match="did not finish within 1 s") as caught:
        build_plan(request(), deadline_s=1, progress=print, command=script("import time; time.sleep(600)"))
    assert "builder.timeout" in caught.value.hint


def test_a_failure_travels_whole() -> None:
    failure = canonical_json(BuildFailure("bad-model", "no", "do so", "detail"))
    text = f"import pathlib, sys; pathlib.Path(sys.argv[2]).write_bytes({failure!r}); sys.exit(3)"
    with pytest.raises(EngineError) as caught:
        build_plan(request(), deadline_s=30, progress=print, command=script(text))
    error = caught.value
    assert (error.kind, error.message, error.hint, error.detail) == ("bad-model", "no", "do so", "detail")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("import os; print('abort!', flush=True); os.abort()", "signal 6"),
        ("raise SystemExit(1)", "exit code 1"),
        ("pass", "exit code 0"),
        ("import pathlib, sys; pathlib.Path(sys.argv[2]).write_text('{}')", "gave an invalid answer"),
    ],
)
def test_a_child_without_a_word_is_explained(text: str, said: str) -> None:
    with pytest.raises(EngineError, match=said) as caught:
        build_plan(request(), deadline_s=30, progress=print, command=script(text))
    assert caught.value.kind == "internal"


def test_a_timing_belongs_to_tensorrt_module_sms_and_mode() -> None:
    nano = DeviceFacts("linux/arm64", "p3767-0003", "36.4.3", 8, "12.6", "10.3.0.30")
    other = (
        timing_facts(nano, "Orin", "MAXN_SUPER"),
        timing_facts(dataclasses.replace(nano, module="p3767-0001"), "Orin", "15W"),
        timing_facts(dataclasses.replace(nano, sm_count=4), "Orin", "15W"),
        timing_facts(dataclasses.replace(nano, tensorrt="10.3.0.26"), "Orin", "15W"),
    )
    here = timing_facts(nano, "Orin", "15W")
    assert len({timing_name(facts) for facts in (here, *other)}) == 5
    assert timing_facts(nano, "another name", "15W") == here  # the module's number stands for the GPU
    assert timing_facts(dataclasses.replace(nano, module=None), "H100", None).module == "H100"
    assert len({calibration_key("t", "g", "d"), calibration_key("t", "g", "e"), calibration_key("u", "g", "d")}) == 3


def test_caches_of_this_device_are_picked_by_name_and_bounded_in_size(tmp_path: Path) -> None:
    here, other = TimingFacts("10.3.0.30", "p3767-0003", 8, "15W"), TimingFacts("10.3.0.30", "p3767-0003", 8, "25W")
    folder = tmp_path / "timing"
    folder.mkdir()
    for facts, number in ((here, 0), (here, 1), (other, 0)):
        (folder / timing_file(facts, number)).write_bytes(b"timings")
    with (folder / timing_file(here, 2)).open("wb") as file:
        file.truncate(MAX_TIMING_BYTES + 1)
    by_hand = tmp_path / "timing.cache"
    by_hand.write_bytes(b"timings")
    found, notes = given_caches(timing_name(here), by_hand, folder)
    assert found == (by_hand, folder / timing_file(here, 0), folder / timing_file(here, 1))
    assert notes == (f"timing cache {timing_file(here, 2)} has more than 32 MiB, and was left out",)
    assert given_caches(timing_name(here), tmp_path / "none", tmp_path / "nowhere") == ((), ())


def test_a_cache_that_ends_the_building_process_is_left_out(tmp_path: Path) -> None:
    text = (
        "import json, os, pathlib, sys\n"
        "if json.loads(pathlib.Path(sys.argv[1]).read_text())['timing_given']: os.abort()\n"
        f"pathlib.Path(sys.argv[2]).write_bytes({ANSWER!r})"
    )
    lines: list[str] = []
    asked = request(timing_given=("broken.cache",))
    answer, answered = build_plan(asked, deadline_s=30, progress=lines.append, command=script(text))
    assert (answer.seconds, answered.timing_given) == (1.0, ())
    assert any("ended with signal 6: trying again without the timing caches" in line for line in lines)


def test_a_cache_is_replaced_whole(tmp_path: Path) -> None:
    files = CacheFiles(tmp_path / "cache", "timing")
    assert files.read("k") == b""
    files.write("k", b"one")
    files.write("k", b"two")
    assert files.read("k") == b"two"
    assert [item.name for item in (tmp_path / "cache").iterdir()] == ["timing-k.cache"]


def test_a_lock_is_waited_for_and_goes_with_its_process(tmp_path: Path) -> None:
    files = CacheFiles(tmp_path, "timing")
    holder = subprocess.Popen(
        script(
            "import time; from pathlib import Path\n"
            "from runtime.engines.tensorrt_.build.timing_cache import CacheFiles\n"
            f"with CacheFiles(Path({str(tmp_path)!r}), 'timing').locked('k'):\n"
            "    print('held', flush=True); time.sleep(600)"
        ),
        stdout=subprocess.PIPE,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert holder.stdout is not None
    assert holder.stdout.readline() == b"held\n"
    with pytest.raises(EngineError, match=r"was held by another process for 0\.2 s"), files.locked("k", 0.2):
        pass
    with files.locked("another", 0.2):
        pass
    holder.kill()
    holder.wait(10)
    holder.stdout.close()
    with files.locked("k", 10):
        files.write("k", b"mine")
