"""The robot's updater with something changed in it: another version, or one of the ways in which a new one is bad."""

from __future__ import annotations

import io
import re
import zipfile

from fleet.bootstrap.updater_package import SHEBANG, updater_version, updater_zipapp

SERVE = "runtime/updater/daemon/serve.py"
#: What a bad updater's daemon does; everything else of it works.
EXITS = "\n\ndef serve(*_):\n    print('cannot go on', flush=True)\n    return 1\n"
HANGS = "\n\ndef serve(*_):\n    import time\n    while True:\n        time.sleep(1)\n"


def another(build: str, serve: str = "") -> tuple[bytes, str]:
    """Return an updater and its version, which is ours with ``build`` (12 hex); ``serve``: what its daemon does."""
    packed = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(updater_zipapp())) as ours, zipfile.ZipFile(packed, "w") as theirs:
        for entry in ours.infolist():
            content = ours.read(entry)
            if entry.filename == "__main__.py":
                content = re.sub(rb'build="[0-9a-f]+"', f'build="{build}"'.encode(), content)
            if entry.filename == SERVE:
                content += serve.encode()
            theirs.writestr(entry, content)
    return SHEBANG + packed.getvalue(), f"{updater_version().partition('+')[0]}+{build}"
