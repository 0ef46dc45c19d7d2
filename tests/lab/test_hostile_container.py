"""A runtime container that somebody took over: what it is denied, and that its successor takes its place anyway."""

from __future__ import annotations

import json

import pytest

from runtime.contract.node.serving import NODES_DIR
from tests.lab.bays import WorkerBay
from tests.lab.handover import ROBOT, Pair

pytestmark = pytest.mark.xdist_group("lab-hostile")

#: In the old container, as its user: what it tries at once, and what it goes on with.
HOSTILE = r"""
import fcntl, json, os, socket, threading, time
node, serve = "/run/jetfleet/node", "/run/jetfleet/serve"
log = open(node + "/attack.log", "a", buffering=1)

def attempt(what, do):
    try:
        do()
    except OSError as error:
        log.write(f"{what}: {error.strerror}\n")
    else:
        log.write(f"{what}: done\n")

def connect(path):
    socket.socket(socket.AF_UNIX).connect(path)

attempt("another lock in the lock's place", lambda: os.unlink(serve + "/serving.lock"))
attempt("the token", lambda: open(serve + "/active", "w").close())
attempt("the list of signed engines", lambda: open(serve + "/signed-engines-b.json", "w").close())
attempt("its own code", lambda: open("/opt/jetfleet/lib/runtime/__init__.py", "a").close())
attempt("folders of other containers", lambda: os.listdir("/run/jetfleet/slots"))
attempt("the updater", lambda: connect("/run/jetfleet/updater.sock"))
attempt("the Engine", lambda: connect("/var/run/docker.sock"))
attempt("root", lambda: os.setuid(0))

def hold():
    descriptor = os.open(serve + "/serving.lock", os.O_RDONLY)
    log.write("waits for the serving lock\n")
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    log.write("keeps the serving lock\n")
    time.sleep(100000)

def answer_for_the_other():
    server = socket.socket(socket.AF_UNIX)
    server.bind(node + "/health-b.sock")
    server.listen(8)
    while True:
        server.accept()
        log.write("asked for the other's report\n")

def junk():
    while True:
        for family, address in ((socket.AF_INET, ("127.0.0.1", 9310)), (socket.AF_UNIX, node + "/health-a.sock")):
            try:
                with socket.socket(family) as connection:
                    connection.settimeout(1)
                    connection.connect(address)
                    connection.sendall(os.urandom(2000))
            except OSError:
                pass
        time.sleep(0.2)

for target in (hold, answer_for_the_other, junk):
    threading.Thread(target=target).start()
"""
#: On the host, as the container's user: takes the new container's socket, as the old one could while they shared it.
TAKES = r"""
import glob, json, os, socket, time
ends = time.monotonic() + 240
while not (found := glob.glob("/run/jetfleet/slots/b-*/health-b.sock")) and time.monotonic() < ends:
    time.sleep(0.02)
path = found[0]
os.rename(path, path + ".own")
server = socket.socket(socket.AF_UNIX)
server.bind(path)
server.listen(8)
server.settimeout(0.2)
body = json.dumps({"models": [{"name": "sign_text", "self_test": {"passed": False}}]}).encode()
while not os.path.exists("/tmp/enough") and time.monotonic() < ends:
    try:
        connection, _ = server.accept()
        connection.sendall(b"HTTP/1.0 200 OK\r\n\r\n" + body)
        connection.close()
    except OSError:
        pass
os.rename(path + ".own", path)
"""
FACTS = "{{json .HostConfig}}\n{{json .Config.User}}\n{{json .Mounts}}"
STATUS = "import re; print(dict(re.findall(r'(Cap\\w+|NoNewPrivs|Seccomp):\\t(\\w+)', open('/proc/1/status').read())))"


def denied(pair: Pair) -> None:
    """What Docker says, and the kernel, of the container that runs."""
    container = pair.only().id
    host, user, mounts = (
        json.loads(line) for line in pair.sh(f"docker inspect --format '{FACTS}' {container}").splitlines() if line
    )
    assert user == "1000:1000"
    assert (host["CapDrop"], host["CapAdd"], host["Privileged"]) == (["ALL"], None, False)
    assert (host["ReadonlyRootfs"], host["PidsLimit"]) == (True, 512)
    # An Engine adds `label=disable` where IPC is the host's.
    assert {*host["SecurityOpt"]} - {"label=disable"} == {"no-new-privileges:true"}
    writable = [mount for mount in mounts if mount["RW"]]
    assert [mount["Destination"] for mount in writable] == ["/run/jetfleet/node"]
    assert writable[0]["Source"].startswith(f"{NODES_DIR}/")
    said = pair.sh(f'docker exec {container} python3 -I -S -c "{STATUS}"')
    for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"):
        assert f"'{name}': '0000000000000000'" in said, said
    assert "'NoNewPrivs': '1'" in said


def test_a_container_that_was_taken_over_is_replaced_whatever_it_does(bay: WorkerBay) -> None:
    pair = Pair(bay.on_first(ROBOT, version="1.0.0").site)
    old = pair.only()
    since = pair.started(old.id)
    denied(pair)
    pair.publish()
    pair.site.fleet("publish")
    pair.site.lab.exec(ROBOT, ["docker", "exec", "--detach", old.id, "python3", "-c", HOSTILE]).check()
    attack = f"cat {NODES_DIR}/a-*/attack.log"
    pair.until("the attack", lambda: "waits for the serving lock" in pair.sh(f"{attack} 2>/dev/null || true"))
    pair.site.lab.exec(
        ROBOT, ["sh", "-c", 'setsid python3 -c "$1" >/tmp/takes.log 2>&1 </dev/null &', "sh", TAKES], user="jetson"
    ).check()

    rollout = pair.begin()
    refusal = "which is not in the container"
    pair.until("the forged socket to be refused", lambda: pair.said(refusal))
    assert pair.started(old.id) == since, "the old release runs"
    pair.sh("touch /tmp/enough")
    result = pair.end(rollout)
    assert (result["outcome"], result["reason"] or "") == ("committed", ""), result
    assert pair.said("does not release its topics within 15 s: stopping it"), "it kept the lock"
    pair.until("the old one's end", lambda: len(pair.runtimes()) == 1)
    assert pair.only().project != old.project

    tried = pair.sh(attack)
    assert "done" not in tried
    assert tried.count(": ") == 8, tried
    assert "asked for the other's report" not in tried
    denied(pair)
    pair.publish()
    pair.site.fleet("publish")
    assert pair.end(pair.begin())["outcome"] == "committed", "and the next one"
    folders = pair.sh(f"ls {NODES_DIR}").split()
    assert [name[:2] for name in folders if not name.endswith(".gone")] in (["a-"], ["a-", "b-"])
    assert "attack.log" not in pair.sh(f"ls {NODES_DIR}/*"), "nothing of it is left for who comes next"
