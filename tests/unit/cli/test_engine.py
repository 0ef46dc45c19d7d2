"""`fleet engine`: real processes, real ONNX Runtime, tiny models; what is said when a process ends badly."""

from __future__ import annotations

import io
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fleet.build import engine_process
from fleet.cli import main
from fleet.errors import OutsideError
from fleet.manifest.load import load_manifest
from fleet.resolve.images.recipe import recipe_for
from fleet.resolve.resolver import resolve
from runtime.contract.engine.engine_facts import EngineFacts
from runtime.contract.engine.engine_tool import INSPECT, InspectRequest
from tests.fakes.fleet_folder import write_fleet
from tests.fakes.nodes.policy_models import accumulator
from tests.unit.engines.models import dead_channel

QUICK = ("--seconds", "0.02")


@pytest.fixture(scope="module")
def fleet_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_fleet(tmp_path_factory.mktemp("fleet") / "manifests")


@pytest.fixture(scope="module")
def engines(fleet_folder: Path) -> Path:
    """A folder with the manifest's detector at fp32 and fp16."""
    folder = fleet_folder.parent / "engines"
    for precision in ("fp32", "fp16"):
        arguments = ["detector", "--precision", precision, "--out", str(folder / precision), *QUICK]
        assert main.run(["engine", "build", *arguments, "-m", str(fleet_folder)]) == 0
    return folder


def fleet(capsys: pytest.CaptureFixture[str], *arguments: str, code: int = 0) -> Any:
    """Run the verb with ``--json`` and return its document."""
    capsys.readouterr()
    ended = main.run(["engine", *arguments, "--json"], as_json=True)
    printed = capsys.readouterr()
    assert ended == code, printed.out + printed.err
    assert "Traceback" not in printed.err
    return json.loads(printed.out)


def error(capsys: pytest.CaptureFixture[str], *arguments: str, code: int) -> str:
    document = fleet(capsys, *arguments, code=code)["error"]
    assert document["exit_code"] == code
    assert document["hint"]
    return str(document["message"])


def test_an_engine_has_the_key_that_fleet_build_gives_it(engines: Path, fleet_folder: Path) -> None:
    wanted = {spec.key for spec in resolve(load_manifest(fleet_folder), recipe_for).engines.values()}
    found = {json.loads((engines / name / "engine.json").read_text())["key"] for name in ("fp32", "fp16")}
    assert found == wanted


def test_a_build_answers_with_its_report(
    tmp_path: Path, fleet_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "a" / "engine"
    document = fleet(capsys, "build", "detector", "--out", str(out), "-m", str(fleet_folder), *QUICK)
    assert document["out"] == str(out)
    assert {key: value for key, value in document.items() if key not in ("out", "seconds")} == json.loads(
        (out / "report.json").read_text()
    )
    assert sorted(item.name for item in out.parent.iterdir()) == ["engine"]


def test_a_gate_that_says_no_leaves_what_was_there(
    tmp_path: Path, engines: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    strict = write_fleet(tmp_path / "strict", model={"gates": {"latency_p99": {"sim-x86": "0.00001ms"}}})
    before = {path.name: path.read_bytes() for path in (engines / "fp32").iterdir()}
    arguments = ("build", "detector", "--out", str(engines / "fp32"), "-m", str(strict), *QUICK)
    assert "p99" in error(capsys, *arguments, code=4)
    assert {path.name: path.read_bytes() for path in (engines / "fp32").iterdir()} == before
    assert sorted(item.name for item in engines.iterdir()) == ["fp16", "fp32"]


def test_a_metric_is_shown_in_the_report_and_decides(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    metric = {"name": "mean_abs_error", "output": "scores", "max": {"fp32": 0.5, "fp16": 1e-12}}
    manifest = write_fleet(tmp_path / "measured", model={"gates": {"metric": metric}})
    out = str(tmp_path / "engine")
    assert main.run(["engine", "build", "detector", "--out", out, "-m", str(manifest), *QUICK]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert "mean_abs_error to fp32" in shown
    assert "(scores, 2 frames, limit 0.5)" in shown
    assert main.run(["engine", "inspect", out]) == 0
    assert "mean_abs_error to fp32" in " ".join(capsys.readouterr().out.split())
    arguments = ("build", "detector", "--precision", "fp16", "--out", out, "-m", str(manifest), *QUICK)
    assert "fp16 mean_abs_error" in error(capsys, *arguments, code=4)
    document = fleet(capsys, *arguments, "--no-gates")
    assert document["metric"]["limit"] == 1e-12
    assert any(note.startswith("accuracy gate waived: fp16 mean_abs_error") for note in document["notes"])


def test_gates_can_be_set_aside(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    strict = write_fleet(tmp_path / "strict", model={"gates": {"latency_p99": {"sim-x86": "0.00001ms"}}})
    out = str(tmp_path / "engine")
    fleet(capsys, "build", "detector", "--no-gates", "--out", out, "-m", str(strict), *QUICK)


def test_an_engine_is_replaced_whole(tmp_path: Path, fleet_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "engine"
    for precision in ("fp32", "int8"):
        arguments = ("--precision", precision, "--out", str(out), "-m", str(fleet_folder), *QUICK)
        document = fleet(capsys, "build", "detector", *arguments)
        assert document["identity"]["precision"] == precision
        (out / "left-over").touch()
    assert sorted(path.name for path in out.iterdir()) == [
        "engine.json", "engine.onnx", "golden.npz", "left-over", "report.json",
    ]  # fmt: skip
    assert sorted(path.name for path in tmp_path.iterdir()) == ["engine"]


def test_a_bare_file_is_built_with_options(
    tmp_path: Path, fleet_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = str(fleet_folder / "models/onnx/detector.onnx")
    content = io.BytesIO()
    np.savez(content, image=np.random.default_rng(0).uniform(-1, 1, (16, 3, 8, 8)).astype("f4"))
    (tmp_path / "calibration.npz").write_bytes(content.getvalue())
    document = fleet(
        capsys, "build", model, "--precision", "int8", "--calibration", str(tmp_path / "calibration.npz"),
        "--int8-method", "minmax", "--allow-mixed", "--shape", "image=1x3x8x8",
        "--out", str(tmp_path / "engine"), *QUICK,
    )  # fmt: skip
    assert document["identity"]["precision"] == "int8"
    assert any("random generator" in note for note in document["notes"])


def test_a_recurrent_file_is_built_and_run_as_one_sequence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = tmp_path / "sum.onnx"
    model.write_bytes(accumulator().SerializeToString())
    np.savez(tmp_path / "frames.npz", x=np.ones((8, 2), np.float32))
    document = fleet(
        capsys, "build", str(model), "--state", "sum_in=sum_out", "--golden", str(tmp_path / "frames.npz"),
        "--out", str(tmp_path / "engine"), *QUICK,
    )  # fmt: skip
    assert [(each["input"], each["output"]) for each in document["identity"]["state"]] == [("sum_in", "sum_out")]
    answer = fleet(capsys, "run", str(tmp_path / "engine"))
    assert {each["name"]: each["max"] for each in answer["outputs"]} == {"y": 16.0, "sum_out": 8.0}
    constant = fleet(capsys, "build", str(model), "--constant", "sum_in=3", "--out", str(tmp_path / "c"), *QUICK)
    assert [each["name"] for each in constant["identity"]["inputs"]] == ["x"]


def test_an_accuracy_gate_that_says_no_names_the_nodes_and_the_option_that_mends_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = tmp_path / "dead.onnx"
    model.write_bytes(dead_channel(3, weight=1e4).SerializeToString())
    images = np.random.default_rng(0).uniform(-1, 1, (16, 3, 16, 20)).astype("f4")
    np.savez(tmp_path / "frames.npz", image=images)
    arguments = (
        "build", str(model), "--precision", "int8", "--calibration", str(tmp_path / "frames.npz"), "--golden",
        str(tmp_path / "frames.npz"), "--int8-method", "minmax", "--shape", "image=1x3x16x20", "--min-cosine", "0.995",
        "--out", str(tmp_path / "engine"), *QUICK,
    )  # fmt: skip
    refused = fleet(capsys, *arguments, code=4)["error"]
    assert "on output 'scores', against the fp32 source model" in refused["message"]
    assert "exclude_nodes: [conv3]" in refused["message"]
    assert "--exclude-node" in refused["hint"]
    document = fleet(capsys, *arguments, "--exclude-node", "conv3")
    assert min(each["min_cosine"] for each in document["accuracy"]) >= 0.995


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("build", "detectro"), "no model called detectro"),
        (("build", "detector", "--profile", "sim"), "no profile called sim"),
        (("build", "detector", "--calibration", "x.npz"), "--calibration does not apply"),
        (("build", "detector", "--dla-core", "0"), "which has no DLA"),
        (("build", "detector", "--dla-core", "2"), "--dla-core"),
        (("build", "nowhere.onnx"), "there is no"),
        (("build", "nowhere.onnx", "--profile", "sim-x86"), "--profile does not apply"),
        (("build", "detector", "--out", "manifests"), "not an engine folder"),
        (("build", "detector", "--precision", "int4"), "int4"),
        (("inspect", "nowhere"), "there is no"),
        (("build", "nowhere.onnx", "--state", "h0"), "--state h0 is no state"),
        (("build", "nowhere.onnx", "--constant", "sr=fast"), "--constant sr=fast is no number"),
        (("build", "nowhere.onnx", "--constant", "sr=inf"), "--constant sr=inf is no number"),
        (("build", "detector", "--state", "h0=hn"), "--state does not apply"),
        (("bench", "nowhere", "--shape", "x=axb"), "--shape x=axb is not a shape"),
        (("bench", "nowhere", "--warm-up", "inf"), "finite"),
        (("run", "manifests/fleet.yaml"), "neither an engine"),
        (("compare", "nowhere", "nowhere"), "there is no"),
    ],
)
def test_a_wrong_command_line_is_exit_2_and_changes_nothing(
    fleet_folder: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    arguments: tuple[str, ...],
    said: str,
) -> None:
    monkeypatch.chdir(fleet_folder.parent)
    before = sorted(fleet_folder.parent.rglob("*"))
    assert said in error(capsys, *arguments, code=2)
    assert sorted(fleet_folder.parent.rglob("*")) == before


def test_a_model_without_calibration_data_has_no_int8(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = write_fleet(tmp_path / "m", model={"precisions": None, "gates": None})
    arguments = ("build", "detector", "--precision", "int8", "--out", str(tmp_path / "e"), "-m", str(folder))
    assert "no calibration data for int8" in error(capsys, *arguments, code=2)


def test_several_profiles_for_this_platform_have_to_be_chosen_from(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("platform.machine", lambda: "aarch64")
    message = error(
        capsys, "build", "detector", "--out", str(tmp_path / "e"), "-m", str(write_fleet(tmp_path / "m")), code=2
    )
    assert message.startswith("0 of the manifest's profiles are for this machine's platform (linux/arm64)")


def test_inspect_tells_what_a_robot_would_say(engines: Path, capsys: pytest.CaptureFixture[str]) -> None:
    document = fleet(capsys, "inspect", str(engines / "fp16"), "--check")
    assert document["verdict"]["fits"]
    assert document["report"]["identity"] == document["identity"]


def test_an_engine_of_another_device_is_exit_4_with_the_facts(
    tmp_path: Path, engines: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    there = tmp_path / "engine"
    there.mkdir()
    for file in (engines / "fp32").iterdir():
        if file.name != "report.json":
            (there / file.name).write_bytes(file.read_bytes())
    identity = json.loads((there / "engine.json").read_text())
    identity["device"]["module"] = "p3767-0003"
    (there / "engine.json").write_text(json.dumps(identity))
    document = fleet(capsys, "inspect", str(there), "--check", code=4)
    assert "p3767-0003 claimed, none found" in document["error"]["message"]
    assert document["identity"]["device"]["module"] == "p3767-0003"
    assert "p3767-0003" in error(capsys, "bench", str(there), code=3)


def test_a_limit_that_is_exceeded_is_exit_4_with_the_times(engines: Path, capsys: pytest.CaptureFixture[str]) -> None:
    document = fleet(capsys, "bench", str(engines / "fp32"), "--iterations", "10", "--max-p99", "0", code=4)
    assert document["engines"][0]["host"]["count"] == 10
    assert document["error"]["kind"] == "EngineGateError"


def test_answers_that_are_not_the_expected_ones_are_exit_4(
    tmp_path: Path, engines: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fleet(capsys, "run", str(engines / "fp32"), "--save", str(tmp_path / "out.npz"))
    with np.load(tmp_path / "out.npz") as archive:
        np.savez(tmp_path / "wrong.npz", **{name: -archive[name] - 1 for name in archive.files})
    same = ("run", str(engines / "fp32"), "--expect", str(tmp_path / "out.npz"))
    assert fleet(capsys, *same)["violation"] is None
    wrong = ("run", str(engines / "fp32"), "--expect", str(tmp_path / "wrong.npz"))
    assert "against wrong.npz" in fleet(capsys, *wrong, code=4)["error"]["message"]


def test_two_are_compared_and_a_gate_may_stand_between(engines: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ("compare", str(engines / "fp32"), str(engines / "fp16"), *QUICK)
    document = fleet(capsys, *arguments)
    assert document["outputs"][0]["min_cosine"] > 0.99
    assert document["bench"]["ratio"]["rounds"] >= 1
    assert "cosine" in error(capsys, *arguments, "--min-cosine", "1", code=4)
    assert "not compared" in error(capsys, *arguments, "--no-run", "--min-cosine", "0.5", code=4)


def test_every_verb_prints_a_table(engines: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    one, other = str(engines / "fp32"), str(engines / "fp16")
    for arguments, said in (
        (("inspect", one, "--layers", "--check"), ["self-test", "operators", "here", "fits", "layer", "precision"]),
        (("bench", one, other, *QUICK), ["p99", "inferences/s", "second / first", "warm-up"]),
        (("run", one, "--save", str(tmp_path / "o.npz")), ["largest values", "as expected", "saved"]),
        (("compare", one, other, *QUICK), ["A = fp32", "B / A", "cosine to fp32", "measured here"]),
    ):
        capsys.readouterr()
        assert main.run(["engine", *arguments]) == 0
        printed = capsys.readouterr().out
        assert all(word in printed for word in said), printed


# ── the process ──────────────────────────────────────────────────────────────────────────────────────────────────────


def stand_in(folder: Path, monkeypatch: pytest.MonkeyPatch, code: str) -> None:
    """Put other code in the tool's place."""
    (folder / "broken_tool.py").write_text(code)
    monkeypatch.setattr(engine_process, "TOOL_MODULE", "broken_tool")
    monkeypatch.setenv("PYTHONPATH", str(folder))


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("import os, signal; print('loading', flush=True); os.kill(os.getpid(), signal.SIGSEGV)", "crashed: SIGSEGV"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", "was killed, out of memory most likely"),
        ("print('half way'); raise SystemExit(7)", "exit code 7 and no answer; its last lines:\n  half way"),
    ],
)
def test_a_process_that_dies_is_told_as_such(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: str, said: str
) -> None:
    stand_in(tmp_path, monkeypatch, code)
    with pytest.raises(OutsideError, match="the engine process") as caught:
        engine_process.ask(INSPECT, InspectRequest("/nowhere"), EngineFacts)
    assert said in caught.value.message
    assert caught.value.hint


def test_an_interruption_ends_the_process_and_lets_it_tidy_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stand_in(
        tmp_path,
        monkeypatch,
        f"""
import os, signal, time
def tidy(*_):
    open({str(tmp_path / "tidied")!r}, "w").close()
    raise SystemExit
signal.signal(signal.SIGTERM, tidy)
print(os.getpid(), flush=True)
time.sleep(600)
""",
    )
    said = []

    def interrupt(line: str) -> None:
        said.append(int(line))
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        engine_process.ask(INSPECT, InspectRequest("/nowhere"), EngineFacts, interrupt)
    assert (tmp_path / "tidied").exists()
    with pytest.raises(ProcessLookupError):
        os.kill(said[0], 0)


def test_what_lies_in_the_users_folder_is_not_imported(
    tmp_path: Path, engines: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "numpy.py").write_text("raise RuntimeError('the wrong numpy')")
    monkeypatch.chdir(tmp_path)
    fleet(capsys, "inspect", os.path.relpath(engines / "fp32"))
