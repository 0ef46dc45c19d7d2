"""Every decoder of foreign words, on the robot and on the operator's side, with a corpus of good inputs."""

from __future__ import annotations

import io
import random
import tarfile
import tempfile
import unicodedata
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import onnx
from google.protobuf.message import DecodeError
from onnx import TensorProto, helper

from fleet.adapters.registry.registry_errors import _said
from fleet.bootstrap.host_facts import facts_from_probe, host_notes, host_problems
from fleet.build.job_archive import unpack_outputs
from fleet.errors import FleetError
from fleet.manifest.files.npz_header import NotNpz, read_npz_header
from fleet.manifest.yaml.yaml_text import parse_document
from fleet.oci.image_spec import MANIFEST, parse_manifest
from fleet.ports import OciManifest
from fleet.publish.archive import unpack
from fleet.signing.allowed_signers import SignerError, read_signers
from runtime.contract.codec import ContractError, canonical_json, digest_of, from_json, to_dict
from runtime.contract.engine.build import BuildFailure, BuildJob, EngineIdentity, EngineReport
from runtime.contract.engine.onnx_tensors import external_tensors
from runtime.contract.engine.timing import TimingFacts
from runtime.contract.json_decoder import WORDS, decode
from runtime.contract.node.attestation import Attestation
from runtime.contract.node.health import HealthReport
from runtime.contract.node.health_answer import read_health
from runtime.contract.node.resources import InhibitPolicy, LockState, ResourcePolicy
from runtime.contract.node.runtime_config import RuntimeConfig
from runtime.contract.printable import printable, printable_colours, printable_lines, unicode_text
from runtime.contract.registry.authorizer import AuthError, Authorizer
from runtime.contract.registry.docker_logins import Credentials
from runtime.contract.registry.no_proxy import without_proxy
from runtime.contract.registry.origin import RedirectRefused, origin_of, redirect_target
from runtime.contract.registry.tokens import read_token
from runtime.contract.robot.newest import Newest
from runtime.contract.robot.power import PowerAnswer, PowerPolicy, ServingOrders, parse_modes, parse_query
from runtime.contract.robot.release import ReleaseDocument
from runtime.contract.robot.root import TrustRoot, read_root
from runtime.contract.robot.trust import Signed, Statement, TrustSettings
from runtime.contract.robot.update import UpdateOrder, UpdateState
from runtime.contract.robot.verification import Verification
from runtime.contract.versions import version_order
from runtime.engines.device.plan_header import read_plan_header
from runtime.health.checks.evidence import Evidence
from runtime.health.process.status import ExecutorStatus
from runtime.updater.fetching.download import _named_in
from runtime.updater.fetching.errors import Cannot, UpstreamError
from runtime.updater.fetching.reference import parse_reference
from runtime.updater.fetching.settings import parse_info
from runtime.updater.robot.docker_cli import PullReader
from runtime.updater.robot.fetch_process import ChildReader
from runtime.updater.robot.update_lock import take
from runtime.updater.state.records import HistoryEntry, Journal
from runtime.updater.state.world import ContainerFacts, Observation
from runtime.updater.storage.journal import _parse as parse_journal
from runtime.updater.transaction.judge import baseline_of, judge, judge_standby
from tests.fakes.robots.robot_world import order, reference, variant
from tests.harness.fuzz import Target, document

DOCUMENTS: tuple[type[Any], ...] = (
    UpdateOrder, UpdateState, Attestation, HealthReport, LockState, ReleaseDocument, Statement, Signed, TrustSettings,
    TrustRoot, Newest,
    PowerAnswer, PowerPolicy, ServingOrders, ExecutorStatus, Verification, Evidence, HistoryEntry, InhibitPolicy,
    ResourcePolicy, RuntimeConfig, EngineReport, EngineIdentity, BuildJob, BuildFailure, TimingFacts, Journal,
)  # fmt: skip
HEX = "sha256:" + "0" * 64


def is_text(line: str) -> bool:
    """Say whether a line has neither control characters nor halves of surrogate pairs nor line ends."""
    return not any(unicodedata.category(char) in ("Cc", "Cs", "Zl", "Zp") for char in line)


def good(kind: type[Any], count: int = 12) -> list[bytes]:
    """Return some good documents of a contract's kind."""
    chance = random.Random(kind.__name__)
    return [canonical_json(document(kind, chance)) for _ in range(count)]


def targets(scratch: Path) -> Iterator[Target]:
    """Yield all decoders. ``scratch``: a folder for those that read files."""
    for kind in DOCUMENTS:
        yield Target(kind.__name__, good(kind), _reader(kind), (ContractError,))
    yield Target("json", [*good(HealthReport, 3), b'[1,{"a":"\\u00e9"}]'], _decode, (ContractError,))
    yield Target("json, cleaned", good(Attestation, 6), _cleaned, (ContractError,))
    yield Target(
        "root", good(TrustRoot, 6), lambda given: read_root(given.decode("utf-8", "replace")), (ContractError,)
    )
    yield Target("judge", good(HealthReport), _judge, (), 0.1)
    yield Target("journal", [_journal(number) for number in range(8)], parse_journal, (ContractError,))
    yield from _texts()
    yield from _files(scratch)


def _reader(kind: type[Any]) -> Callable[[bytes], object]:
    def read(given: bytes) -> None:
        value = from_json(kind, given, WORDS)
        # Whatever was taken can be written down, and is the same then.
        assert from_json(kind, canonical_json(value)) == value

    return read


def _decode(given: bytes) -> None:
    canonical_json(decode(given, limits=WORDS))


def _cleaned(given: bytes) -> None:
    text = canonical_json(to_dict(from_json(Attestation, given, WORDS, printable))).decode("utf-8")
    assert text == printable(text)


def _judge(given: bytes) -> None:
    container = ContainerFacts("c", "i", reference("b"), "running", "", 0, 0)
    seen = Observation(container, (reference("b"),), read_health(given.decode("utf-8", "replace")))
    verdicts = (judge(seen, baseline_of(seen), variant("b")), judge_standby(seen, variant("b")))
    assert all(is_text(verdict.why) for verdict in verdicts)
    canonical_json([to_dict(baseline_of(seen)), [[verdict.why, verdict.restarts] for verdict in verdicts]])


def _journal(number: int) -> bytes:
    data = to_dict(document(Journal, random.Random(number)))
    return canonical_json({"checksum": digest_of(data), "journal": data})


# ── lines and headers ────────────────────────────────────────────────────────────────────────────────────────────


class _Heard:
    def layer(self, layer: str, status: str) -> None: ...
    def moved(self, moved: int, here: int, total: int) -> None: ...
    def waits(self, why: str) -> None: ...
    def alone(self, why: str) -> None: ...


def _text(call: Callable[[str], object]) -> Callable[[bytes], object]:
    return lambda given: call(given.decode("utf-8", "surrogateescape"))


def _child(text: str) -> None:
    reader = ChildReader(_Heard())
    reader.feed(text)
    reader.feed("\n")


def _pull(text: str) -> None:
    reader = PullReader(lambda _layer, _state: None, again=True)
    reader.feed(text)
    reader.feed("\n")


def _challenge(text: str) -> None:
    known = Credentials("here", "me", "secret")
    rules = Authorizer("registry.test", True, lambda _: known, lambda _: (200, b'{"token":"t"}'), lambda: 0.0)
    scopes = ("repository:a/b:pull",)
    rules.challenged(text, scopes, "")
    rules.header(scopes).encode("latin-1")


def _redirect(text: str) -> None:
    registry = origin_of("https://registry.test:5000")
    target = redirect_target("https://registry.test:5000/v2/a", text, registry)
    assert origin_of(target).scheme == "https"
    assert target.isascii()
    assert target.isprintable()


def _shown(text: str) -> None:
    for shown in (printable(text), printable_lines(text), printable_colours(text), unicode_text(text)):
        shown.encode("utf-8")
    assert is_text(printable(text))


def _probe(text: str) -> None:
    facts = facts_from_probe(text, "jetson", 1e9)
    [problem.what for problem in host_problems(facts)], host_notes(facts)


def _power(text: str) -> None:
    parse_modes(text), parse_query(text)


def _texts() -> Iterator[Target]:
    child = [
        b'{"moved": 5, "here": 5, "total": 9}\r\n{"layer": "abc", "status": "downloading"}\n',
        b'{"failed": {"message": "x"}}\n',
    ]
    pull = [
        b"\x1b[1A0123456789ab: Downloading [=> ] 1MB/2MB\r\n0123456789ab: Pull complete\n",
        b"Error response from daemon\n",
    ]
    challenge = [b'Bearer realm="https://a.test/token",service="s",scope="repository:a/b:pull"', b'Basic realm="x"']
    power = [
        b"< POWER_MODEL ID=2 NAME=25W >\nCPU_ONLINE CORE_0 1\nTPC_POWER_GATING TPC_PG_MASK 252\n",
        b"NV Power Mode: 25W\n2\n",
    ]
    probe = [b"uid=1000\ngroups=a docker\npython=3.10.12\nfree_kib=12345\ntime=1800000000\ndocker=28.2.2\nroot=yes\n"]
    signers = [
        b'anna@x,ben@x namespaces="jetfleet.release" ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAA x',
        b'"a b" cert-authority ssh-rsa AAAA',
    ]
    yield Target("fetching process", child, _text(_child), ())
    yield Target("docker pull", pull, _text(_pull), ())
    yield Target("challenge", challenge, lambda given: _challenge(given.decode("latin-1")), (AuthError,))
    yield Target(
        "redirect",
        [b"https://s.test/b?c=d", b"/v2/a", b"http://registry.test/v2/x"],
        _text(_redirect),
        (RedirectRefused,),
    )
    yield Target("token", [b'{"token":"t","expires_in":60}'], read_token, (ValueError,))
    yield Target(
        "no proxy", [b"*.lan,10.0.0.0/8,[fd00::1]:5000,a:1"], _text(lambda text: without_proxy(text, "r.lan", 443)), ()
    )
    yield Target("docker info", [b'{"HttpsProxy":"","RegistryConfig":{}}'], _text(parse_info), (Cannot,))
    yield Target("reference", [f"registry.test:5000/a/b@{HEX}".encode()], _text(parse_reference), (Cannot,))
    yield Target("version", [b"1.2.3", b"10.0.0-rc.1"], _text(version_order), (ValueError,))
    yield Target("printable", [b"\x1b[31mred\x1b[0m", "größer\n😀\t\x9b".encode()], _text(_shown), ())
    yield Target("power", power, _text(_power), ())
    yield Target("probe", probe, _text(_probe), ())
    yield Target("allowed signers", signers, _text(lambda text: list(read_signers(text))), (SignerError,))
    yield Target("registry's error", [b'{"errors":[{"code":"DENIED","message":"no"}]}', b"<html>502</html>"], _said, ())


# ── files ────────────────────────────────────────────────────────────────────────────────────────────────────────


def _manifest(given: bytes) -> None:
    parse_manifest(OciManifest(HEX, MANIFEST, given), "registry.test/a")


def _onnx(given: bytes) -> None:
    list(external_tensors(onnx.load_model_from_string(given)))


def _models() -> list[bytes]:
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, [4]) for name in "xy")
    weights = helper.make_tensor("w", TensorProto.FLOAT, [4], [1.0] * 4)
    branch = helper.make_graph([], "b", [], [y], [weights])
    node = helper.make_node("If", ["x"], ["y"], then_branch=branch, else_branch=branch)
    return [helper.make_model(helper.make_graph([node], "g", [x], [y], [weights])).SerializeToString()]


def _tars() -> list[bytes]:
    made = []
    for format_ in (tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT):
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w", format=format_) as tar:
            for name in ("out/engine.json", "out/" + "l" * (90 if format_ == tarfile.USTAR_FORMAT else 120)):
                entry = tarfile.TarInfo(name)
                entry.size = 40
                tar.addfile(entry, io.BytesIO(b"x" * 40))
        made.append(buffer.getvalue()[:4096])
    return made


def _saved() -> list[bytes]:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name, content in (
            ("manifest.json", b'[{"Config":"c.json","Layers":["l.tar"]}]'),
            ("c.json", b"{}"),
            ("l.tar", b"x"),
        ):
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))
    return [buffer.getvalue()[:4608]]


def _npz() -> list[bytes]:
    import numpy as np

    buffer = io.BytesIO()
    np.savez(buffer, images=np.zeros((2, 2), np.float32))
    return [buffer.getvalue()]


def _files(scratch: Path) -> Iterator[Target]:
    def in_file(call: Callable[[Path], object]) -> Callable[[bytes], object]:
        path = scratch / "input"

        def given_in_file(given: bytes) -> None:
            path.write_bytes(given)
            call(path)

        return given_in_file

    def unpacked(path: Path) -> None:
        with tempfile.TemporaryDirectory(dir=scratch) as folder:
            unpack_outputs(path, Path(folder) / "to")

    def saved(given: bytes) -> None:
        with tempfile.TemporaryDirectory(dir=scratch) as folder:
            unpack([given], Path(folder), "export")

    def locked(path: Path) -> None:
        answer, held = take(True, path, now=1.0)
        assert all(is_text(reason) for reason in answer.reasons)
        if held is not None:
            held.release()

    part = {"mediaType": "a", "digest": HEX, "size": 2}
    manifests = [canonical_json({"schemaVersion": 2, "config": part, "layers": [part]})]
    yield Target("image manifest, operator", manifests, _manifest, (FleetError,))
    yield Target("image manifest, robot", manifests, _named_in, (UpstreamError,))
    yield Target("update lock", good(LockState), in_file(locked), (), 0.02)
    yield Target("builder's answer", _tars(), in_file(unpacked), (FleetError, OSError, ValueError), 0.02)
    yield Target("docker save", _saved(), saved, (FleetError,), 0.02)
    yield Target("ONNX", _models(), _onnx, (DecodeError,))
    yield Target("npz", _npz(), in_file(read_npz_header), (NotNpz,), 0.02)
    yield Target("TensorRT plan", [b"ftrt" + bytes(range(60))], read_plan_header, ())
    yield Target(
        "YAML",
        [b"a: [1, x, {b: true}]\nc:\n  - 1.5\n  - 'q'\n", canonical_json(to_dict(order("1")))],
        parse_document,
        (),
    )
