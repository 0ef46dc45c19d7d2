"""Docker's health check of a runtime container: exit 0 when the agent says that it is alive.

Runs every ten seconds on a robot, so stdlib only and without site-packages (``python3 -I -S``). Liveness, not
readiness: what is not ready yet must not be restarted by somebody who watches Docker's health. The agent's own socket
comes first: in a handover the port is the other container's.
"""

import http.client
import os
import socket
import sys

port = int(os.environ.get("JETFLEET_HEALTH_PORT", "9310"))
slot = os.environ.get("JETFLEET_SLOT") or "a"
own = f"{os.environ.get('JETFLEET_NODE_DIR') or '/run/jetfleet/node'}/health-{slot}.sock"
connection = http.client.HTTPConnection("127.0.0.1", port, timeout=4)
if os.access(own, os.F_OK):
    connection.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    connection.sock.settimeout(4)
try:
    if connection.sock is not None:
        connection.sock.connect(own)
    connection.request("GET", "/healthz")
    answer = connection.getresponse()
    print(answer.read(400).decode("utf-8", "replace"))
except (OSError, http.client.HTTPException) as error:
    print(f"the agent does not answer on {own if connection.sock else f'127.0.0.1:{port}'}: {error}")
    sys.exit(1)
sys.exit(0 if answer.status == 200 else 1)
