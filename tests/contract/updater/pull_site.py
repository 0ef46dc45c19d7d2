"""A fleet whose robots pull: a real registry, real keys, a robot's folder, and a hub that speaks the hub's HTTP."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from fleet.adapters.registry.oci_registry import OciRegistry
from fleet.adapters.ssh.ssh_signer import SshSigner
from fleet.oci.releases import PublishedRelease, publish_release
from fleet.signing.desired import (
    DesiredStanding,
    Office,
    _put,
    first_words,
    moved_words,
    publish,
    read_desired,
    sign_plan,
)
from fleet.signing.roots import judge_with
from runtime.contract.codec import canonical_json, from_json
from runtime.contract.node.report import SignedReport
from runtime.contract.robot.desired import DESIRED_TYPE, PLAN_TYPE, PROOF_TYPE, Desired, RolloutPlan, Stage
from runtime.contract.robot.pull_settings import PULL_FILE, PullSettings
from runtime.contract.robot.release import ReleaseDocument
from runtime.contract.robot.root import ROOT_FILE, ROOT_FOLDER, TrustRoot
from runtime.contract.robot.trust import NAMESPACES, RELEASE, ROOT, Proof, Signed
from runtime.contract.robot.update import UpdateOrder
from tests.contract.signing.test_signatures import Keys
from tests.fakes.robots.robot_world import order
from tests.fakes.signed_orders import document_of, statement_of

FLEET, PREFIX, ROBOT, DAY = "warehouse", "warehouse", "amr-001", 86400.0


class PullSite:
    """Anna signs, Carl is of the role advance; ``amr-001`` is in the second of three stages."""

    def __init__(self, folder: Path, address: str, keys: Keys, prefix: str = PREFIX) -> None:
        self.folder, self.keys, self.signer, self.prefix = folder, keys, SshSigner(), prefix
        self.address = address
        self.registry = OciRegistry(address, plain_http=True)
        self.root = TrustRoot(FLEET, 1, self._line("anna"), advance=self._line("carl"))
        self.office = Office(self.registry, prefix, self.root, judge_with(self.signer), self.signer)
        self.robot = folder / "robot"
        (self.robot / "state").mkdir(parents=True)
        (self.robot / "state" / "robot.json").write_text(json.dumps({"robot": ROBOT, "fleet": FLEET}))
        (self.robot / ROOT_FOLDER).mkdir()
        root = Signed(self.root.text, (self.sign("anna", self.root.text, ROOT),))
        (self.robot / ROOT_FOLDER / ROOT_FILE).write_bytes(canonical_json(root))
        self.settings = PullSettings(
            FLEET, ROBOT, f"http://{address}", prefix, poll_s=3600.0, host_key=str(keys.path("host"))
        )
        self.configure()

    def _line(self, name: str) -> str:
        return f'{name}@x namespaces="jetfleet.*" {self.keys.public(name)}\n'

    def configure(self, **changes: Any) -> None:
        self.settings = replace(self.settings, **changes)
        (self.robot / PULL_FILE).write_bytes(canonical_json(self.settings))

    def sign(self, name: str, text: str, kind: str) -> str:
        return self.signer.sign(text.encode(), NAMESPACES[kind], self.keys.path(name))

    # ── what is published ──

    def release(self, letter: str, told: UpdateOrder | None = None) -> PublishedRelease:
        """Publish the release called ``letter``, as ``told`` would run it."""
        document: ReleaseDocument = document_of(told or order(letter))
        return publish_release(self.registry, self.prefix, document)

    def proof(self, release: PublishedRelease) -> Proof:
        statement = statement_of(from_json(ReleaseDocument, release.text), issued_at=time.time() - 60.0)
        text = canonical_json(replace(statement, expires_at=time.time() + 90 * DAY)).decode()
        return Proof(release.text, Signed(text, (self.sign("anna", text, RELEASE),)))

    def plan(self, release: PublishedRelease, rollout_id: str = "r-1", **changes: Any) -> RolloutPlan:
        stages = (Stage(("other",)), Stage((ROBOT,)), Stage(("last",)))
        now = float(int(time.time())) - 30.0
        made = RolloutPlan(FLEET, rollout_id, release.version, release.digest, stages, now, now + 30 * DAY)
        return replace(made, **changes)

    def begin(self, letter: str, rollout_id: str = "r-1", *, stage: int = 0, **changes: Any) -> DesiredStanding:
        """Publish a release and a rollout of it."""
        told = changes.pop("told", None)
        release = self.release(letter, told)
        plan = self.plan(release, rollout_id, **changes)
        signed, missing = sign_plan(self.office, plan, self.keys.path("anna"))
        assert missing == ""
        words = first_words(read_desired(self.office, time.time()), plan, signed.statement, time.time(), DAY)
        return self.put(replace(words, stage=stage), signed, self.proof(release))

    def put(self, words: Desired, plan: Signed, proof: Proof) -> DesiredStanding:
        return publish(self.office, words, plan, proof, self.keys.path("carl"))

    def move(self, **changes: Any) -> DesiredStanding:
        """Sign the next statement of the rollout."""
        found = read_desired(self.office, time.time())
        assert found.plan is not None
        assert found.proof is not None
        return self.put(moved_words(found, time.time(), DAY, **changes), found.plan, found.proof)

    def forge(self, by: str = "carl", **changes: Any) -> None:
        """Put a statement there that a program of one's own signs, whatever the rules say."""
        found = read_desired(self.office, time.time())
        assert found.followed is not None
        assert found.plan is not None
        assert found.proof is not None
        text = canonical_json(replace(found.followed.desired, **changes)).decode()
        self.push(Signed(text, (self.sign(by, text, "desired"),)), found.plan, found.proof)

    def push(self, statement: Signed, plan: Signed, proof: Proof) -> None:
        """Write to the registry as whoever may: nothing is checked."""
        layers: list[tuple[str, Signed | Proof]] = [
            (DESIRED_TYPE, statement), (PLAN_TYPE, plan), (PROOF_TYPE, proof)
        ]  # fmt: skip
        _put(self.office, "desired", layers, "1.0.0")


class FakeHub:
    """Takes reports over real HTTP, by the rules of the hub's API; answers what a test tells it to."""

    def __init__(self, server: ThreadingHTTPServer) -> None:
        self.url = f"http://127.0.0.1:{server.server_address[1]}"
        self.taken: list[SignedReport] = []
        self.known: dict[str, int] = {}
        self.answers: list[tuple[int, dict[str, Any]]] = []
        """What the next posts are answered, instead of the rules."""

    def post(self, body: bytes) -> tuple[int, dict[str, Any]]:
        if self.answers:
            return self.answers.pop(0)
        report = from_json(SignedReport, body)
        newest = self.known.get(report.robot, 0)
        if report.sequence <= newest:
            return 409, {"sequence": newest}
        self.known[report.robot] = report.sequence
        self.taken.append(report)
        return 202, {"sequence": report.sequence}


@contextmanager
def fake_hub() -> Iterator[FakeHub]:
    """Run it on a free port."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            assert self.path == "/v1/reports", self.path
            self._answer(*hub.post(self.rfile.read(int(self.headers["Content-Length"]))))

        def do_GET(self) -> None:
            self._answer(200 if self.path == "/healthz" else 404, {})

        def _answer(self, status: int, content: dict[str, Any]) -> None:
            body = json.dumps(content).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_arguments: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    hub = FakeHub(server)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
