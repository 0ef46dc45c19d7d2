from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fleet.manifest.schema.manifest_schema import Profile
from fleet.resolve.desired import Recipe
from fleet.resolve.images import image_files
from fleet.resolve.images.recipe import recipe_for

REPO = Path(__file__).resolve().parents[3]
SIM: dict[str, Any] = {
    "name": "sim-x86",
    "platform": "linux/amd64",
    "backend": "onnxruntime",
    "base_image": "debian:bookworm",
    "ros_distro": "kilted",
}


def sim(**changes: Any) -> Profile:
    return Profile(**{**SIM, **changes})


@pytest.mark.parametrize("kind", ["builder", "runtime"])
def test_same_digest_and_object_for_equal_profiles(kind: str) -> None:
    assert recipe_for(kind, sim()) is recipe_for(kind, sim())
    assert recipe_for(kind, sim()).digest == recipe_for(kind, sim(name="other", power_modes=("15W",))).digest
    assert recipe_for(kind, sim()).tag.startswith(f"{kind}-sim-x86-")


@pytest.mark.parametrize(
    "change", [{"base_image": "debian:trixie"}, {"platform": "linux/arm64"}, {"ros_distro": "jazzy"}]
)
def test_digest_follows_what_matters(change: dict[str, str]) -> None:
    assert recipe_for("builder", sim()).digest != recipe_for("builder", sim(**change)).digest


def test_kinds_differ() -> None:
    assert recipe_for("builder", sim()).digest != recipe_for("runtime", sim()).digest


def test_dockerfile_is_rendered_whole() -> None:
    text = recipe_for("runtime", sim()).files["Dockerfile"].decode()
    assert text.count("FROM debian:bookworm") == 2
    assert "{{" not in text
    assert "{%" not in text
    assert 'MALLOC_TRIM_THRESHOLD_="268435456"' in text
    assert 'FASTDDS_DEFAULT_PROFILES_FILE="/opt/jetfleet/share/fastdds.xml"' in text
    assert 'ENTRYPOINT ["python3", "-m", "runtime.health"]' in text
    assert "USER 1000:1000" in text
    assert "HEALTHCHECK" in text


def test_every_copied_file_is_in_the_context() -> None:
    for kind in ("builder", "runtime"):
        recipe = recipe_for(kind, sim())
        lines = [line.split()[1:-1] for line in recipe.files["Dockerfile"].decode().splitlines() if line[:5] == "COPY "]
        copied = [name for names in lines if not names[0].startswith("--from") for name in names]
        assert copied
        for name in copied:
            assert name == "wheels/" or any(path == name or path.startswith(name) for path in recipe.files), name


def test_sources_of_the_builder_are_only_what_builds() -> None:
    files = recipe_for("builder", sim()).files
    parts = {path.split("/")[2] for path in files if path.startswith("lib/runtime/")}
    assert {"contract", "engines", "__init__.py"} <= parts
    assert not parts & {"executor", "health", "power", "updater"}


def test_sources_of_the_runtime_leave_the_updater_out() -> None:
    paths = [path for path in recipe_for("runtime", sim()).files if path.startswith("lib/")]
    assert "lib/runtime/health/__main__.py" in paths
    assert "lib/runtime/executor/__main__.py" in paths
    assert not [path for path in paths if "updater" in path or "__pycache__" in path or path.endswith(".pyc")]


@pytest.mark.parametrize("kind", ["builder", "runtime"])
def test_requirements_are_exact_and_hashed(kind: str) -> None:
    for line in recipe_for(kind, sim()).requirements:
        pin, *hashes = line.split()
        assert "==" in pin
        assert hashes, line
        assert all(value.startswith("--hash=sha256:") for value in hashes)


def test_arm64_renders_from_the_same_template() -> None:
    arm, x86 = recipe_for("builder", sim(platform="linux/arm64")), recipe_for("builder", sim())
    assert arm.files["Dockerfile"] == x86.files["Dockerfile"]


def test_fast_enough_to_ask_for_in_every_command() -> None:
    recipe_for.cache_clear()
    started = time.process_time()
    recipe_for("builder", sim())
    recipe_for("runtime", sim())
    assert time.process_time() - started < 0.2


@pytest.fixture
def sources(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], tuple[str, str]]:
    """Return the digests of both kinds over a copy of `runtime` that the test may change."""
    shutil.copytree(REPO / "runtime", tmp_path / "runtime", ignore=shutil.ignore_patterns("__pycache__"))

    class Spec:
        submodule_search_locations = (str(tmp_path / "runtime"),)

    monkeypatch.setattr(image_files.importlib.util, "find_spec", lambda name: Spec())

    def digests() -> tuple[str, str]:
        recipe_for.cache_clear()
        both: tuple[Recipe, Recipe] = (recipe_for("builder", sim()), recipe_for("runtime", sim()))
        recipe_for.cache_clear()
        return both[0].digest, both[1].digest

    return digests


def append(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as file:
        file.write(text)


def test_a_change_of_the_executor_leaves_engine_keys_alone(
    sources: Callable[[], tuple[str, str]], tmp_path: Path
) -> None:
    before = sources()
    append(tmp_path / "runtime" / "executor" / "__init__.py", "# changed\n")
    after = sources()
    assert after[0] == before[0]
    assert after[1] != before[1]


def test_a_change_of_the_engines_changes_both(sources: Callable[[], tuple[str, str]], tmp_path: Path) -> None:
    before = sources()
    append(tmp_path / "runtime" / "engines" / "graph" / "transform.py", "# changed\n")
    assert all(new != old for new, old in zip(sources(), before, strict=True))


def test_what_is_no_source_changes_nothing(sources: Callable[[], tuple[str, str]], tmp_path: Path) -> None:
    before = sources()
    append(tmp_path / "runtime" / "engines" / "__pycache__" / "transform.cpython-311.pyc", "x")
    append(tmp_path / "runtime" / "engines" / ".transform.py.swp", "x")
    append(tmp_path / "runtime" / "updater" / "cli" / "main.py", "# changed\n")
    for path in (tmp_path / "runtime").rglob("*"):
        os.utime(path, (1, 1))
    assert sources() == before


def test_the_installed_wheel_gives_the_same_digest(tmp_path: Path) -> None:
    """Templates below fleet/_data and sources in site-packages, as pip lays them, are the checkout's recipe."""
    for name in ("fleet", "runtime"):
        shutil.copytree(REPO / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(REPO / "images", tmp_path / "fleet" / "_data" / "images")
    script = (
        "import json, sys; from fleet.manifest.schema.manifest_schema import Profile\n"
        "from fleet.resolve.images import recipe\n"
        "print(recipe.__file__); p = Profile(**json.loads(sys.argv[1]))\n"
        "print(recipe.recipe_for('builder', p).digest, recipe.recipe_for('runtime', p).digest)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, json.dumps(SIM)], cwd=tmp_path, capture_output=True, text=True,
        check=False, env={**os.environ, "PYTHONPATH": str(tmp_path)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    where, digests = done.stdout.splitlines()
    assert where.startswith(str(tmp_path))
    recipe_for.cache_clear()  # others may be changing the checkout while this runs
    assert digests.split() == [recipe_for("builder", sim()).digest, recipe_for("runtime", sim()).digest]
