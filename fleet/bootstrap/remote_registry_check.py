"""Asks the registry for a tag list with the login that the updater would show. Sent to a robot, run as root there.

Stdlib and Python 3.8 only, imported by nothing. The one argument is JSON: ``host``, ``plain_http``, ``repository``,
``authority`` (PEM or null), ``login`` (a docker client's config.json, or null), ``configs`` (files of logins that are
there already). Prints one JSON object: whether the registry was reached, whose login was shown, and why it did not do
(empty: it did). No secret is ever in it.
"""

from __future__ import annotations

import base64
import json
import re
import ssl
import subprocess
import sys
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path
from typing import Any, Dict, List, Tuple  # noqa: UP035

TIMEOUT_S = 15.0


def main(p: Dict[str, Any]) -> Dict[str, Any]:  # noqa: UP006
    """Return what came of it."""
    said: Dict[str, Any] = {"reached": False, "login": "none", "why": ""}  # noqa: UP006
    try:
        check(p, said)
    except urllib.error.HTTPError as error:
        said["reached"] = True
        said["why"] = "HTTP " + str(error.code) + " " + str(error.reason)
    except urllib.error.URLError as error:
        said["why"] = str(error.reason)
    except (OSError, ValueError, KeyError, TypeError, subprocess.SubprocessError) as error:
        said["why"] = type(error).__name__ + ": " + str(error)
    return said


def check(p: Dict[str, Any], said: Dict[str, Any]) -> None:  # noqa: UP006
    """Ask with the login; raises what urllib raises."""
    base = ("http" if p["plain_http"] else "https") + "://" + p["host"] + "/v2/"
    context = ssl.create_default_context()
    if p["authority"]:
        context.load_verify_locations(cadata=p["authority"])
    opener = urllib.request.build_opener(urllib.request.HTTPSHandler(context=context))
    challenge = ""
    try:
        opener.open(base, timeout=TIMEOUT_S).close()
    except urllib.error.HTTPError as error:
        if error.code != 401:
            raise
        challenge = error.headers.get("WWW-Authenticate", "")
    said["reached"] = True
    basic, said["login"] = login(p)
    headers = {}
    if challenge.lower().startswith("bearer"):
        headers = {"Authorization": "Bearer " + token(opener, challenge, p["repository"], basic)}
    elif challenge and basic:
        headers = {"Authorization": "Basic " + basic}
    request = urllib.request.Request(base + p["repository"] + "/tags/list?n=1", headers=headers)  # noqa: S310
    try:
        opener.open(request, timeout=TIMEOUT_S).close()
    except urllib.error.HTTPError as error:
        if error.code != 404:  # Nothing is published yet.
            raise


def login(p: Dict[str, Any]) -> Tuple[str, str]:  # noqa: UP006
    """Return the login as basic authentication writes it, and whose it is."""
    configs = [("the manifest's", p["login"])] if p["login"] else []
    configs += [(path, found) for path in p["configs"] for found in read(path)]
    for whose, config in configs:
        helper = (config.get("credHelpers") or {}).get(p["host"]) or config.get("credsStore")
        auth = ((config.get("auths") or {}).get(p["host"]) or {}).get("auth")
        if helper:
            return from_helper(helper, p["host"]), whose + ", docker-credential-" + helper
        if auth:
            return auth, whose
    return "", "none"


def read(path: str) -> List[Any]:  # noqa: UP006
    """Return what is in a file of logins; nothing where there is none."""
    try:
        found = json.loads(Path(path).expanduser().read_text(encoding="utf-8"))
    except (FileNotFoundError, RuntimeError):  # No file; no such user.
        return []
    return [found] if isinstance(found, dict) else []


def from_helper(helper: str, server: str) -> str:
    """Ask docker-credential-<helper>."""
    command = ["docker-credential-" + helper, "get"]
    done = subprocess.run(command, input=server.encode(), stdout=subprocess.PIPE, timeout=TIMEOUT_S, check=True)
    found = json.loads(done.stdout.decode("utf-8"))
    pair = found["Username"] + ":" + found["Secret"]
    return base64.b64encode(pair.encode("utf-8")).decode("ascii")


def token(opener: urllib.request.OpenerDirector, challenge: str, repository: str, basic: str) -> str:
    """Get a token to pull, as the challenge says where."""
    fields = dict(re.findall(r'(\w+)="([^"]*)"', challenge))
    query = {"service": fields.get("service", ""), "scope": "repository:" + repository + ":pull"}
    request = urllib.request.Request(fields["realm"] + "?" + urllib.parse.urlencode(query))  # noqa: S310
    if basic:
        request.add_header("Authorization", "Basic " + basic)
    with opener.open(request, timeout=TIMEOUT_S) as answer:
        found = json.loads(answer.read(1 << 20).decode("utf-8"))
    return str(found.get("token") or found["access_token"])


if __name__ == "__main__":
    print(json.dumps(main(json.loads(sys.argv[1]))))
