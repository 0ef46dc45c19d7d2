"""Child processes of the first process of a container, which inherits every orphan and must collect them all."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
from collections.abc import Mapping, Sequence

MAX_OUTPUT_BYTES = 1024 * 1024


class Children:
    """Knows which children somebody waits for, so that the rest can be collected."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._awaited: set[int] = set()

    def run(self, command: Sequence[str], timeout_s: float, environment: Mapping[str, str]) -> str:
        """Run a command to its end and return its stdout; kill it past ``timeout_s``.

        Raises OSError when it cannot be started, TimeoutError.
        """
        with self._lock:  # nobody may collect it before it is known
            process = subprocess.Popen(
                command, env=dict(environment), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, start_new_session=True
            )
            self._awaited.add(process.pid)
        try:
            out, _ = process.communicate(timeout=timeout_s)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
            raise TimeoutError(f"not done after {timeout_s:g} s") from None
        finally:
            with self._lock:
                self._awaited.discard(process.pid)
        return out[:MAX_OUTPUT_BYTES].decode("utf-8", "replace")

    def reap_orphans(self, supervised: int | None, limit: int = 256) -> int:
        """Collect dead children that nobody waits for; the supervised one's exit code is its supervisor's.

        Returns how many were collected.
        """
        count = 0
        with self._lock:
            for _ in range(limit):
                try:
                    found = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
                except ChildProcessError:
                    return count
                if found is None or found.si_pid == supervised or found.si_pid in self._awaited:
                    return count
                os.waitpid(found.si_pid, os.WNOHANG)
                count += 1
        return count
