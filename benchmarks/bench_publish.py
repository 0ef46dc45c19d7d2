"""An image with a new 100 MB engine into a registry: fleet's assembly by API against `docker build` + `docker push`.

Both in the same run, alternating, on the same registry (a real one, started here), with the same new engine each
time, upon the same base image, which the registry holds already for both. Prints a table and one JSON line; exit
code 1 when the claim does not hold.

    python -m benchmarks.bench_publish [--base IMAGE] [--rounds 5] [--megabytes 100]
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from fleet.adapters.registry.oci_registry import OciRegistry
from fleet.oci.image_spec import MANIFEST
from fleet.publish.artifact import push_engine
from fleet.publish.assemble import describe_image, push_images
from fleet.publish.base import load_base, upload_base
from runtime.contract.codec import canonical_json
from runtime.contract.engine.build import AccuracyGate, DeviceFacts, EngineIdentity, EngineReport, Percentiles
from runtime.contract.node.runtime_config import ModelRuntime, RuntimeConfig
from tests.fakes.registries.registry_process import find_registry_binary, registry_process

CLAIM = 6.0
PREFIX = "jetfleet-publish-bench"
BASES = ("jetfleet/bases", "jetfleet-lab/debian", "debian", "ubuntu")


def main() -> int:
    arguments = parse_arguments()
    binary = find_registry_binary()
    base = arguments.base or local_base()
    if binary is None or base is None:
        missing = "the docker-registry binary (make setup)" if binary is None else "a base image"
        print(f"bench_publish: missing {missing}; --base IMAGE names a local image of 200 MB or more", file=sys.stderr)
        return 3
    # Storage on disk, not on a tmpfs: a registry keeps what it is given.
    with tempfile.TemporaryDirectory(prefix="jetfleet-publish-", dir=arguments.folder) as name:
        folder = Path(name)
        with registry_process(binary, folder) as host:
            return bench(host, base, folder, arguments)


def bench(host: str, base: str, folder: Path, arguments: argparse.Namespace) -> int:
    registry = OciRegistry(host)
    prepare(registry, host, base, folder)
    ours: list[float] = []
    peers: list[float] = []
    pulled = ""
    try:
        for number in range(arguments.rounds):
            engine = new_engine(folder, number, arguments.megabytes << 20)
            seconds, digest = timed(lambda: with_fleet(registry, engine, number))  # noqa: B023  (called at once)
            ours.append(seconds)
            peers.append(timed(lambda: with_docker(host, base, engine, number))[0])  # noqa: B023
            pulled = f"{host}/{PREFIX}/runtime@{digest}"
        docker("pull", "--quiet", pulled)
        by_tag = f"{host}/{PREFIX}/runtime:{arguments.rounds - 1}-bench"
        docker("pull", "--quiet", by_tag)
        assert docker("image", "inspect", "--format", "{{.Id}}", by_tag, pulled).split()[1:] == [
            docker("image", "inspect", "--format", "{{.Id}}", pulled)
        ]
        labels = json.loads(docker("image", "inspect", "--format", "{{json .Config.Labels}}", pulled))
        assert labels["io.jetfleet.engine.sign_text"].startswith("fp16 sha256:"), labels
    finally:
        clean_up(host, arguments.rounds, pulled)
    return report(ours, peers, base, arguments.megabytes)


def report(ours: list[float], peers: list[float], base: str, megabytes: int) -> int:
    # The best of each: what else runs on the machine only ever adds to either.
    ratio = min(peers) / min(ours)
    of_medians = statistics.median(peers) / statistics.median(ours)
    print(f"an image with a new {megabytes} MB engine into a registry ({len(ours)} rounds, base {base})")
    print(f"{'':34}{'median':>9}{'best':>9}{'worst':>9}")
    for name, values in (("fleet: assemble by API", ours), ("docker build + docker push", peers)):
        print(f"{name:34}{statistics.median(values):8.2f}s{min(values):8.2f}s{max(values):8.2f}s")
    ok = ratio >= CLAIM
    verdict = "holds" if ok else "DOES NOT HOLD"
    print(f"{ratio:.1f}× faster, best against best; {of_medians:.1f}× by medians")
    print(f"claimed: at least {CLAIM:.0f}×: {verdict}")
    result = {
        "bench": "publish",
        "fleet_s": ours,
        "docker_s": peers,
        "ratio": round(ratio, 2),
        "ratio_of_medians": round(of_medians, 2),
        "claim": CLAIM,
        "ok": ok,
    }
    print(json.dumps(result))
    return 0 if ok else 1


# ── the two ways ─────────────────────────────────────────────────────────────────────────────────────────────────


def with_fleet(registry: OciRegistry, engine: Path, number: int) -> str:
    """From a builder's result folder to a tagged image; what `fleet build` and `fleet publish` do for one engine."""
    key = engine_key(number)
    artifact = push_engine(registry, f"{PREFIX}/engines", key, engine, report=engine_report(engine, key))
    base = load_base(registry, f"{PREFIX}/bases", "base")
    config = RuntimeConfig(models=(ModelRuntime("sign_text", "fp16", key, (), ()),))
    plan = describe_image(base, [artifact], config, {"variant": "bench"}, PREFIX)
    push_images(registry, PREFIX, [plan])
    registry.put_manifest(f"{PREFIX}/runtime", f"{number}-bench", plan.manifest, MANIFEST)
    return plan.digest


def with_docker(host: str, base: str, engine: Path, number: int) -> str:
    """The usual way: a Dockerfile that copies the engine, built and pushed."""
    image = f"{host}/{PREFIX}/docker:{number}"
    (engine / "Dockerfile").write_text(
        f"FROM {base}\nCOPY engine.plan engine.json golden.npz /opt/engines/sign_text/\n"
    )
    docker("build", "--quiet", "--tag", image, "--label", "jetfleet-publish-bench=1", str(engine))
    return docker("push", "--quiet", image)


# ── around them ──────────────────────────────────────────────────────────────────────────────────────────────────


def prepare(registry: OciRegistry, host: str, base: str, folder: Path) -> None:
    """Give the registry the base image, for both ways."""
    with subprocess.Popen(["docker", "save", base], stdout=subprocess.PIPE) as save:
        stream = save.stdout
        assert stream is not None
        pieces = iter(lambda: stream.read(1 << 20), b"")
        seconds, _ = timed(lambda: upload_base(registry, f"{PREFIX}/bases", "base", pieces, temp_dir=folder))
    print(f"base image {base}: exported, compressed and uploaded in {seconds:.1f} s (once per content change)")
    docker("tag", base, f"{host}/{PREFIX}/docker:base")
    docker("push", "--quiet", f"{host}/{PREFIX}/docker:base")


def new_engine(folder: Path, number: int, size: int) -> Path:
    """Write a builder's result folder with random bytes for an engine: weights hardly compress either."""
    engine = folder / f"engine-{number}"
    engine.mkdir()
    content = os.urandom(size)
    (engine / "engine.plan").write_bytes(content)
    (engine / "golden.npz").write_bytes(os.urandom(1 << 16))
    identity = EngineIdentity(
        key=engine_key(number),
        model="sign_text",
        backend="tensorrt",
        precision="fp16",
        engine_file="engine.plan",
        engine_sha256=hashlib.sha256(content).hexdigest(),
        engine_bytes=size,
        device=DeviceFacts("linux/amd64"),
        inputs=(),
        outputs=(),
        self_test=AccuracyGate(),
    )
    (engine / "engine.json").write_bytes(canonical_json(identity))
    os.sync()  # neither way pays for writing down what the other left in memory
    return engine


def engine_report(engine: Path, key: str) -> EngineReport:
    identity = EngineIdentity(
        key, "sign_text", "tensorrt", "fp16", "engine.plan", "", (engine / "engine.plan").stat().st_size,
        DeviceFacts("linux/amd64"), (), (), AccuracyGate(),
    )  # fmt: skip
    return EngineReport(identity, {}, {}, (), (), Percentiles(1.0, 1.0, 1.0, 1.0, 1), 0, 0.0, 0.0)


def engine_key(number: int) -> str:
    return "sha256:" + hashlib.sha256(f"bench {number}".encode()).hexdigest()


def timed(work: Callable[[], str]) -> tuple[float, str]:
    start = time.perf_counter()
    result = work()
    return time.perf_counter() - start, result


def local_base() -> str | None:
    """Return the largest local image that is a base for this, or None."""
    lines = docker("image", "ls", "--format", "{{.Repository}}:{{.Tag}}").splitlines()
    names = [line for line in lines if line.startswith(BASES) and not line.endswith(":<none>")]
    found = [(int(docker("image", "inspect", "--format", "{{.Size}}", name)), name) for name in names]
    size, name = max(found, default=(0, ""))
    return name if size >= 200_000_000 else None


def docker(*arguments: str) -> str:
    done = subprocess.run(["docker", *arguments], capture_output=True, text=True, timeout=600, check=False)
    if done.returncode:
        raise SystemExit(f"docker {' '.join(arguments)}: {done.stderr.strip()}")
    return done.stdout.strip()


def clean_up(host: str, rounds: int, pulled: str) -> None:
    """Remove what this run made, and only that."""
    images = [f"{host}/{PREFIX}/docker:{tag}" for tag in ("base", *range(rounds))]
    images += [pulled, f"{host}/{PREFIX}/runtime:{rounds - 1}-bench"]
    for image in filter(None, images):
        subprocess.run(["docker", "image", "rm", image], capture_output=True, timeout=120, check=False)


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--base", help="local image to build upon (default: the largest of fleet's base images)")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--megabytes", type=int, default=100)
    parser.add_argument("--folder", type=Path, default=None, help="where the registry and the engines go")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
