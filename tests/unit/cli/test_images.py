"""`fleet images`: what is shown and written for review, and what is built where."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from fleet.cli import main
from fleet.cli.commands import images
from fleet.cli.wiring import Wiring
from fleet.manifest.schema.manifest_schema import Profile
from fleet.resolve.desired import Recipe
from tests.fakes.container_host import FakeContainerHost
from tests.fakes.fleet_folder import write_fleet

PROFILES = Path(__file__).resolve().parents[3] / "manifests" / "profiles"
JETSON = str(PROFILES / "orin-nano-8gb-jp62.yaml")


@pytest.fixture
def manifest(tmp_path: Path) -> Path:
    return write_fleet(tmp_path / "fleet")


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, Any]:
    code = main.run(["images", *arguments, "--json"], as_json=True)
    return code, json.loads(capsys.readouterr().out)


def test_without_a_folder_the_dockerfiles_are_printed(manifest: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main.run(["images", "render", "-m", str(manifest)]) == 0
    text = capsys.readouterr().out
    assert text.count("# ══ ") == 2
    assert "# ══ builder-sim-x86-" in text
    assert 'ENTRYPOINT ["python3", "-m", "runtime.health"]' in text


def test_contexts_are_written_whole_and_again(
    manifest: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    code, document = run(capsys, "render", "-m", str(manifest), "--profile", JETSON, "--out", str(out))
    assert code == 0
    assert [(each["kind"], each["folder"]) for each in document["images"]] == [
        (kind, str(out / f"orin-nano-8gb-jp62-{kind}")) for kind in ("builder", "runtime")
    ]
    assert "nvcr.io/nvidia/l4t-jetpack:r36.4.0" in document["images"][0]["base_images"]
    folder = out / "orin-nano-8gb-jp62-runtime"
    assert (folder / "lib" / "runtime" / "health" / "__main__.py").is_file()
    assert (folder / "requirements-source.txt").read_text().startswith("pycuda==")
    (folder / "left-over").write_text("of an older render")
    assert run(capsys, "render", "-m", str(manifest), "--profile", JETSON, "--out", str(out)) == (0, document)
    assert not (folder / "left-over").exists()
    assert sorted(path.name for path in out.iterdir()) == ["orin-nano-8gb-jp62-builder", "orin-nano-8gb-jp62-runtime"]


def test_somebody_else_s_folder_is_left_alone(
    manifest: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mine = tmp_path / "out" / "sim-x86-builder"
    mine.mkdir(parents=True)
    (mine / "thesis.tex").write_text("mine")
    code, document = run(capsys, "render", "-m", str(manifest), "--out", str(tmp_path / "out"))
    assert code == 2
    assert "holds other files" in document["error"]["message"]
    assert (mine / "thesis.tex").read_text() == "mine"


def test_a_folder_that_cannot_be_made(manifest: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").write_text("")
    code, document = run(capsys, "render", "-m", str(manifest), "--out", str(tmp_path / "file" / "below"))
    assert code == 2
    assert "cannot be written" in document["error"]["message"]


def test_one_kind(manifest: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _, document = run(capsys, "render", "-m", str(manifest), "--profile", "sim-x86", "--kind", "runtime")
    assert [each["kind"] for each in document["images"]] == ["runtime"]
    assert document["images"][0]["base_images"] == ["debian:bookworm"]


@pytest.mark.parametrize(
    ("name", "says", "hint"),
    [("sim-x68", "no profile called sim-x68", "did you mean sim-x86?"), ("none.yaml", "does not exist", "")],
)
def test_a_profile_that_is_not_there(
    manifest: Path, capsys: pytest.CaptureFixture[str], name: str, says: str, hint: str
) -> None:
    code, document = run(capsys, "render", "-m", str(manifest), "--profile", name)
    assert code == 2
    problems = document["error"].get("problems", [{"message": document["error"]["message"]}])
    assert says in problems[0]["message"]
    assert hint in document["error"]["hint"]


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [("l4t: 36.4.3", "l4t: 35.4.1", "JetPack 5"), ("tensorrt: 10.3.0.30", "tensorrt: 11.4.1.2", "does not run on")],
)
def test_what_jetfleet_does_not_support_is_refused_with_the_reason(
    manifest: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], old: str, new: str, says: str
) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text(Path(JETSON).read_text().replace(old, new))
    code, document = run(capsys, "render", "-m", str(manifest), "--profile", str(file))
    assert code == 2
    (problem,) = document["error"]["problems"]
    assert says in problem["message"]
    assert problem["line"] > 1
    assert problem["hint"]


class Site:
    """The builder that every profile gets."""

    def __init__(self, platform: str) -> None:
        self.host = FakeContainerHost(endpoint="ssh://jetson@builder", platform=platform)

    def host_of(self, profile: Profile) -> FakeContainerHost:
        return self.host


@pytest.fixture
def site(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Site:
    found = Site("linux/arm64")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))

    def wheels(recipe: Recipe) -> Path:
        folder = tmp_path / "wheels"
        folder.mkdir(exist_ok=True)
        return folder

    monkeypatch.setattr(Wiring, "host_of", property(lambda _: found.host_of))
    monkeypatch.setattr(images, "fetch_wheels", wheels)
    return found


def test_both_images_are_built_on_the_profile_s_builder_once(
    manifest: Path, site: Site, capsys: pytest.CaptureFixture[str]
) -> None:
    code, document = run(capsys, "build", "-m", str(manifest), "--profile", JETSON)
    assert code == 0
    assert [(each["kind"], each["how"]) for each in document["images"]] == [("builder", "built"), ("runtime", "built")]
    assert {labels["io.jetfleet.kind"] for labels in site.host.images.values()} == {"builder", "runtime"}
    _, again = run(capsys, "build", "-m", str(manifest), "--profile", JETSON)
    assert {each["how"] for each in again["images"]} == {"present"}
    assert len(site.host.contexts) == 2


def test_a_builder_of_another_platform_is_said_and_the_rest_is_tried(
    manifest: Path, site: Site, capsys: pytest.CaptureFixture[str]
) -> None:
    code, document = run(capsys, "build", "-m", str(manifest))  # sim-x86 on an arm64 machine
    assert code == 3
    assert [each["kind"] for each in document["failed"]] == ["builder", "runtime"]
    assert "linux/arm64" in document["error"]["message"]
    assert "builder.endpoint" in document["error"]["hint"]
    assert main.run(["images", "build", "-m", str(manifest)]) == 3
    assert "failed" in capsys.readouterr().out
