"""Images of every profile for Orin Nano and NX, as rendered: right bases, nothing in them that must not be."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from fleet.errors import UsageError
from fleet.manifest.load import load_profile
from fleet.manifest.schema.manifest_schema import Profile
from fleet.resolve.images.image_files import name_of
from fleet.resolve.images.recipe import KINDS, python_version, recipe_for

REPO = Path(__file__).resolve().parents[3]
FOLDER = REPO / "manifests" / "profiles"
JETSONS = sorted(path.stem for path in FOLDER.glob("orin-*.yaml"))
ALL = sorted(path.stem for path in FOLDER.glob("*.yaml"))
BUILDERS = {
    "jp60": "nvcr.io/nvidia/l4t-jetpack:r36.3.0",
    "jp62": "nvcr.io/nvidia/l4t-jetpack:r36.4.0",
    "jp72": "ubuntu:24.04",
}
RUNTIMES = {
    "jp60": "nvcr.io/nvidia/l4t-cuda:12.2.12-runtime",
    "jp62": "nvcr.io/nvidia/l4t-cuda:12.6.11-runtime",
    "jp72": "ubuntu:24.04",
}
ROS = {"jp60": "humble", "jp62": "humble", "jp72": "jazzy"}
PYTHON = {"jp60": "3.10", "jp62": "3.10", "jp72": "3.12"}
HADOLINT = shutil.which(
    "hadolint", path=os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
)
SECRET = re.compile(r"(?i)(password|secret|token|api_key|private key|://[^/\s]*:[^/\s]*@)")


def jetson(name: str, **changes: Any) -> Profile:
    """Return a profile of ``manifests/profiles``, changed."""
    profile = load_profile(FOLDER / f"{name}.yaml")
    return profile.model_copy(update=changes)


def dockerfile(kind: str, name: str, **changes: Any) -> str:
    return recipe_for(kind, jetson(name, **changes)).files["Dockerfile"].decode()


def stage(text: str, name: str = "") -> str:
    """Return one stage of a Dockerfile: by its name, or the last one."""
    stages = re.split(r"^(?=FROM )", text, flags=re.MULTILINE)[1:]
    return stages[-1] if not name else next(part for part in stages if part.split("\n")[0].endswith(f" AS {name}"))


@pytest.mark.parametrize("name", JETSONS)
def test_builder_starts_from_what_has_the_builder(name: str) -> None:
    text = dockerfile("builder", name)
    assert stage(text, "start").startswith(f"FROM {BUILDERS[name[-4:]]} AS start\n")
    assert stage(text).startswith("FROM start\n")
    assert "USER 1000:44" in stage(text)
    assert 'CMD ["python3", "-m", "runtime.engines.build.job", "--job", "/job", "--out", "/out"]' in stage(text)
    assert 'io.jetfleet.kind="builder"' in stage(text)


@pytest.mark.parametrize("name", JETSONS)
def test_runtime_is_complete_and_small(name: str) -> None:
    text = dockerfile("runtime", name)
    last, ros = stage(text), ROS[name[-4:]]
    assert stage(text, "start").startswith(f"FROM {RUNTIMES[name[-4:]]} AS start\n")
    for needed in (f"ros-{ros}-ros-base", f"ros-{ros}-std-srvs", f"ros-{ros}-vision-msgs", "python3-libnvinfer="):
        assert needed in stage(text, "start")
    python = PYTHON[name[-4:]]
    for needed in (
        "USER 1000:1000",
        "HEALTHCHECK",
        "STOPSIGNAL SIGTERM",
        'ENTRYPOINT ["python3", "-m", "runtime.health"]',
        'io.jetfleet.kind="runtime"',
        f'io.jetfleet.ros-distro="{ros}"',
        "NVIDIA_VISIBLE_DEVICES=all",
        f"/opt/ros/{ros}/lib/python{python}/site-packages",
    ):
        assert needed in last


@pytest.mark.parametrize("name", JETSONS)
def test_the_step_that_brings_tensorrt_into_the_runtime_takes_its_builder_out(name: str) -> None:
    steps = re.split(r"^(?=RUN )", stage(dockerfile("runtime", name), "start"), flags=re.MULTILINE)
    brings = [step for step in steps if '"libnvinfer' in step]
    assert len(brings) == 1
    assert re.search(r"find /usr/lib/aarch64-linux-gnu -name 'libnvinfer_builder_resource\*' -delete", brings[0])
    refuses = next(step for step in steps if "test -z" in step)
    assert steps.index(refuses) < steps.index(brings[0])


def test_the_builder_of_10_16_keeps_orin_s_kernels_only() -> None:
    text = stage(dockerfile("builder", "orin-nx-8gb-jp72"), "start")
    assert "! -name '*_resource_sm86.so*' ! -name '*_resource_ptx.so*' -delete" in text


@pytest.mark.parametrize(
    ("name", "pin"),
    [
        ("orin-nano-4gb-jp60", '"libnvinfer8=8.6.2.3-*"'),
        ("orin-nano-8gb-jp62", '"libnvinfer10=10.3.0.30-*"'),
        ("orin-nx-16gb-jp72", '"libnvinfer10=10.16.2.10-*"'),
    ],
)
def test_tensorrt_is_pinned_and_looked_at_again(name: str, pin: str) -> None:
    text = dockerfile("runtime", name)
    assert pin in text
    version = pin.partition("=")[2].partition("-")[0]
    assert f"{version}[.-]*)" in text
    assert '"libnvinfer10=10.3.0.*"' in dockerfile("runtime", "orin-nano-8gb-jp62", tensorrt="10.3.0")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", ALL)
def test_what_is_in_no_image(name: str, kind: str) -> None:
    recipe = recipe_for(kind, load_profile(FOLDER / f"{name}.yaml"))
    text = recipe.files["Dockerfile"].decode()
    assert "{{" not in text
    assert not re.search(r"pip\S*\s+install[^\n]*tensorrt", text)
    assert not [line for line in recipe.requirements if name_of(line).startswith(("tensorrt", "nvidia-"))]
    assert not SECRET.search(text)
    assert "--index-url" not in text
    assert stage(text).count("\nUSER ") == 1
    assert "USER 0" not in text
    assert "USER root" not in text


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", JETSONS)
def test_every_copied_file_is_in_the_context(name: str, kind: str) -> None:
    recipe = recipe_for(kind, jetson(name))
    lines = [line.split()[1:-1] for line in recipe.files["Dockerfile"].decode().splitlines() if line[:5] == "COPY "]
    copied = [file for files in lines if not files[0].startswith("--from") for file in files]
    for file in copied:
        assert file == "wheels/" or any(path == file or path.startswith(file) for path in recipe.files), file


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", ["orin-nano-8gb-jp60", "orin-nano-8gb-jp72"])
def test_packages_are_pinned_and_pycuda_is_built_apart(name: str, kind: str) -> None:
    recipe = recipe_for(kind, jetson(name))
    assert all("==" in line and "--hash=sha256:" in line for line in recipe.requirements)
    installed = recipe.files["requirements.txt"].decode().splitlines()
    built = recipe.files["requirements-source.txt"].decode().splitlines()
    tools = {name_of(line) for line in recipe.files["requirements-build.txt"].decode().splitlines()}
    assert [name_of(line) for line in built] == ["pycuda"]
    assert tools == {"numpy", "setuptools"}
    tool = [line for line in recipe.requirements if name_of(line) == "setuptools"]
    assert sorted([*installed, *built, *tool]) == sorted(recipe.requirements)
    assert "numpy==1.26.4" in [line.split()[0] for line in installed]  # what that Ubuntu's ROS is compiled against


def test_where_no_image_has_cuda_s_headers_they_are_installed() -> None:
    own = stage(dockerfile("runtime", "orin-nano-8gb-jp72"), "pycuda")
    assert "cuda-cudart-dev-13-2 cuda-driver-dev-13-2 cuda-profiler-api-13-2" in own
    assert "cuda-cudart-dev" not in stage(dockerfile("runtime", "orin-nano-8gb-jp62"), "pycuda")


def test_fast_dds_2_reads_its_profile_by_its_own_variable() -> None:
    for name in ("orin-nano-8gb-jp62", "orin-nano-8gb-jp72"):
        text = dockerfile("runtime", name)
        assert 'FASTRTPS_DEFAULT_PROFILES_FILE="/opt/jetfleet/share/fastdds.xml"' in text
        assert "FASTDDS_DEFAULT_PROFILES_FILE" not in text
    assert 'ROS_LOCALHOST_ONLY="1"' in dockerfile("runtime", "orin-nano-8gb-jp62")
    assert "ROS_LOCALHOST_ONLY" not in dockerfile("runtime", "orin-nano-8gb-jp72")


@pytest.mark.parametrize("kind", KINDS)
def test_modules_of_one_line_share_an_image_and_lines_do_not(kind: str) -> None:
    digests = {line: {recipe_for(kind, jetson(n)).digest for n in JETSONS if n.endswith(line)} for line in BUILDERS}
    assert [len(found) for found in digests.values()] == [1, 1, 1]
    assert len(set.union(*digests.values())) == 3


@pytest.mark.parametrize("kind", KINDS)
def test_the_digest_is_the_same_when_rendered_again(kind: str) -> None:
    before = recipe_for(kind, jetson("orin-nx-8gb-jp72")).digest
    recipe_for.cache_clear()
    assert recipe_for(kind, jetson("orin-nx-8gb-jp72")).digest == before


def test_python_is_the_line_s() -> None:
    assert {line: python_version(jetson(f"orin-nx-8gb-{line}")) for line in PYTHON} == PYTHON
    assert python_version(jetson("orin-nx-8gb-jp62", python=None)) == "3.10"
    with pytest.raises(UsageError, match=r"have Python 3\.10, not 3\.12"):
        python_version(jetson("orin-nx-8gb-jp62", python="3.12"))


@pytest.mark.parametrize("l4t", ["36.2.0", "36.6.0", "37.1", "38.2.0", "40.0"])
def test_an_unknown_line_is_refused_with_those_that_exist(l4t: str) -> None:
    with pytest.raises(UsageError, match=rf"no image templates for L4T {re.escape(l4t)}") as caught:
        recipe_for("builder", jetson("orin-nano-8gb-jp62", l4t=l4t))
    assert "36.3 (JetPack 6.0), 36.4 (JetPack 6.1, 6.2), 39.2 (JetPack 7.2)" in caught.value.hint
    assert caught.value.exit_code == 2


def test_an_image_of_one_s_own_to_build_from() -> None:
    own = "registry.example/jetpack@sha256:" + "0" * 64
    assert f"FROM {own} AS start" in dockerfile("builder", "orin-nano-8gb-jp62", builder_image=own)
    assert f"FROM {BUILDERS['jp62']} AS start" in dockerfile("builder", "orin-nano-8gb-jp62", builder_image=None)


@pytest.mark.skipif(HADOLINT is None, reason="needs hadolint (in the dev extra on x86-64 Linux)")
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", ["orin-nano-8gb-jp60", "orin-nano-8gb-jp62", "orin-nano-8gb-jp72", "sim-x86"])
def test_the_linter_has_nothing_to_say(name: str, kind: str, tmp_path: Path) -> None:
    file = tmp_path / "Dockerfile"
    file.write_bytes(recipe_for(kind, load_profile(FOLDER / f"{name}.yaml")).files["Dockerfile"])
    command = [str(HADOLINT), "--no-color", "--config", str(REPO / ".hadolint.yaml"), str(file)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.stdout == ""
    assert done.returncode == 0, done.stderr
    file.write_text("FROM ubuntu:24.04\nRUN sudo cd /tmp\n")
    assert subprocess.run(command, capture_output=True, check=False, timeout=60).returncode == 1


def test_what_the_linter_ignores_is_explained() -> None:
    text = (REPO / ".hadolint.yaml").read_text(encoding="utf-8")
    assert len(yaml.safe_load(text)["ignored"]) == len(re.findall(r"- DL\d+  # \S+", text))
