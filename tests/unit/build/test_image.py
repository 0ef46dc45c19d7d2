from __future__ import annotations

import hashlib
import tarfile
from pathlib import Path

import pytest

from fleet.build.image import BUILT, LABEL_RECIPE, PRESENT, build_context, ensure_base, local_tag
from fleet.build.send_image import send_starts, starts
from fleet.errors import BuildError, DockerError
from fleet.manifest.schema.manifest_schema import Profile
from fleet.resolve.images.recipe import recipe_for
from tests.fakes.container_host import FakeContainerHost
from tests.unit.resolve.test_recipe import SIM

RECIPE = recipe_for("runtime", Profile(**SIM))


@pytest.fixture
def wheels(tmp_path: Path) -> Path:
    folder = tmp_path / "wheels"
    folder.mkdir()
    for name in ("b-1-py3-none-any.whl", "a-1-py3-none-any.whl"):
        (folder / name).write_bytes(name.encode())
    return folder


def test_builds_once_for_a_recipe(wheels: Path) -> None:
    host = FakeContainerHost()
    first = ensure_base(host, RECIPE, wheels=lambda _: wheels)
    second = ensure_base(host, RECIPE, wheels=lambda _: wheels)
    assert (first.how, second.how) == (BUILT, PRESENT)
    assert first.local == second.local == local_tag(RECIPE)
    assert len(host.contexts) == 1
    assert host.images[local_tag(RECIPE)] == {
        "io.jetfleet.recipe": RECIPE.digest,
        "io.jetfleet.profile": "sim-x86",
        "io.jetfleet.kind": "runtime",
    }


def test_a_tag_of_other_content_is_built_again(wheels: Path) -> None:
    host = FakeContainerHost(images={local_tag(RECIPE): {LABEL_RECIPE: "sha256:other"}})
    assert ensure_base(host, RECIPE, wheels=lambda _: wheels).how == BUILT


def test_a_builder_of_another_platform_is_refused(wheels: Path) -> None:
    host = FakeContainerHost(endpoint="ssh://jetson@orin", platform="linux/arm64")
    with pytest.raises(BuildError, match=r"ssh://jetson@orin .*linux/arm64.*linux/amd64") as caught:
        ensure_base(host, RECIPE, wheels=lambda _: wheels)
    assert "builder.endpoint" in caught.value.hint


def test_an_engine_that_is_down_is_said(wheels: Path) -> None:
    with pytest.raises(DockerError, match="does not answer"):
        ensure_base(FakeContainerHost(down=True), RECIPE, wheels=lambda _: wheels)


def test_a_failing_step_passes_through(wheels: Path) -> None:
    host = FakeContainerHost(fails_build="Step 6/23: pip said no")
    with pytest.raises(BuildError, match="pip said no"):
        ensure_base(host, RECIPE, wheels=lambda _: wheels)
    host.fails_build = ""
    assert ensure_base(host, RECIPE, wheels=lambda _: wheels).how == BUILT


def test_the_context_is_the_same_bytes_every_time(wheels: Path) -> None:
    def digest() -> str:
        with build_context(RECIPE, wheels) as context:
            return hashlib.sha256(context.read()).hexdigest()

    before = digest()
    for wheel in wheels.iterdir():
        wheel.touch()
        wheel.chmod(0o600)
    assert digest() == before


def test_the_context_holds_files_and_wheels(wheels: Path) -> None:
    with build_context(RECIPE, wheels) as context, tarfile.open(fileobj=context) as tar:
        names = tar.getnames()
    assert names[-2:] == ["wheels/a-1-py3-none-any.whl", "wheels/b-1-py3-none-any.whl"]
    assert set(RECIPE.files) == set(names[:-2])


def builder_that_lacks_its_base(loads_as: str | None) -> tuple[FakeContainerHost, FakeContainerHost, str]:
    (base,) = starts(RECIPE.files["Dockerfile"].decode())
    return FakeContainerHost(images={base: {}}), FakeContainerHost(endpoint="ssh://b", loads_as=loads_as), base


def test_stages_of_its_own_are_nothing_to_start_from() -> None:
    text = "FROM a:1 AS site\nRUN x\nFROM --platform=linux/arm64 b@sha256:0 AS two\nFROM site\nFROM a:1\n"
    assert starts(text) == ["a:1", "b@sha256:0"]


def test_a_builder_gets_what_it_starts_from_out_of_this_machine(wheels: Path) -> None:
    here, there, base = builder_that_lacks_its_base(None)
    there.loads_as = base
    lines: list[str] = []
    assert ensure_base(there, RECIPE, wheels=lambda _: wheels, starts_of=here, on_log=lines.append).how == BUILT
    assert there.loaded
    assert f"sending {base} from this machine to ssh://b" in lines
    there.loaded.clear()
    there.images.pop(local_tag(RECIPE))
    ensure_base(there, RECIPE, wheels=lambda _: wheels, starts_of=here)
    assert not there.loaded  # it has it by now


def test_an_image_that_is_named_by_its_digest_is_started_from_by_its_id(wheels: Path) -> None:
    here, there, base = builder_that_lacks_its_base(None)
    identity = here.image_id(base)
    assert identity is not None
    there.ids[identity] = identity
    there.loads_as = identity
    sent = send_starts(here, there, RECIPE, None).decode()
    assert starts(sent) == [identity]
    there.images.clear()
    there.loads_as = None
    with pytest.raises(BuildError, match="is not there as sha256:"):
        send_starts(here, there, RECIPE, None)


def test_this_machine_sends_no_image_of_another_platform(wheels: Path) -> None:
    here, there, base = builder_that_lacks_its_base(None)
    here.images.clear()
    here.platform = "linux/arm64"
    with pytest.raises(BuildError, match="this machine does not have") as caught:
        ensure_base(there, RECIPE, wheels=lambda _: wheels, starts_of=here)
    assert f"docker pull --platform linux/amd64 {base}" in caught.value.hint
