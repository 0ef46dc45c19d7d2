"""A command for any login shell, and its answer among whatever that shell prints.

The login shell gets one word, ``sh``: bash, dash, fish, tcsh and busybox agree on that. The program and its arguments
come on the input of that `sh`, quoted as POSIX says. What belongs to the answer stands between two random marks on each
stream; greetings of a `.bashrc` before, and farewells after, are cut off.
"""

from __future__ import annotations

import shlex
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field

LOGIN_WORD = "sh"
_NOISE_LIMIT = 4096
"""Bytes of noise that are kept, to be shown."""
_CODE_LIMIT = 16


@dataclass
class Fence:
    """Marks of one command. Random, so that no output can hold them by accident or by design."""

    mark: str = field(default_factory=lambda: uuid.uuid4().hex)

    @property
    def begin(self) -> bytes:
        """Line after which the answer begins, on both streams."""
        return f"fleet-begin-{self.mark}\n".encode()

    @property
    def end(self) -> bytes:
        """After it comes the exit code and a newline; directly after the last byte of the answer."""
        return f"fleet-end-{self.mark} ".encode()

    def script(self, command: Sequence[str], *, takes_input: bool) -> bytes:
        """Return the program for `sh`.

        It is one compound command: `sh` runs nothing before it has read all, and reads nothing after. Without input the
        command ends as soon as our side of the connection is gone, also where sshd passes on no signals (root).
        """
        begin, end = self.begin.decode().strip(), self.end.decode()
        source = "<&3" if takes_input else "</dev/null"
        lifeline = "" if takes_input else f"( read -r _ <&3; {_END} ) >/dev/null 2>&1 & w=$!\n"
        text = (
            "{ exec 3<&0\n"
            f"printf '%s\\n' {begin}; printf '%s\\n' {begin} >&2\n"
            f"{shlex.join(command)} {source} 3<&- & p=$!\n"
            f"trap '{_END}' TERM HUP INT\n"
            f"{lifeline}"
            # A signal ends `wait` early; the command is over only when it is nobody's child any more.
            'while :; do wait "$p"; c=$?; kill -0 "$p" 2>/dev/null || break; done\n'
            f"{'' if takes_input else 'kill $w 2>/dev/null'}\n"
            f"printf '%s' '{end}' >&2; printf '%s%d\\n' '{end}' \"$c\"\n"
            "exit $c; }\n"
        )
        return text.encode("utf-8", "surrogateescape")


_END = 'kill -TERM "$p" 2>/dev/null'


class Cutter:
    """Takes the bytes of one stream as they come, returns those of the answer."""

    def __init__(self, fence: Fence) -> None:
        self._fence = fence
        self._held = b""
        self._tail = b""
        self.noise = b""
        """What came before and after the answer, up to 4 KiB."""
        self.begun = False
        self.ended = False
        self.exit_code: int | None = None
        """Once it ended; on stdout only."""

    def feed(self, data: bytes) -> bytes:
        """Return what of ``data`` is sure to be of the answer."""
        if self.ended:
            self._after(data)
            return b""
        self._held += data
        if not self.begun and not self._begin():
            return b""
        before, mark, after = self._held.partition(self._fence.end)
        if mark:
            self._held, self.ended = b"", True
            self._after(after)
            return before
        keep = _overlap(self._held, self._fence.end)
        answer, self._held = self._held[: len(self._held) - keep], self._held[len(self._held) - keep :]
        return answer

    def rest(self) -> bytes:
        """Return what is left when the stream ended without the second mark: the command was killed."""
        if not self.begun:
            return b""
        rest, self._held = self._held, b""
        return rest

    def unfenced(self) -> str:
        """Return all that came while the answer never began: the login shell's or sshd's own words."""
        return (self.noise + (b"" if self.begun else self._held)).decode("utf-8", "replace").strip()

    def _begin(self) -> bool:
        before, mark, after = self._held.partition(self._fence.begin)
        if not mark:
            excess = len(self._held) - _NOISE_LIMIT
            if excess > 0:  # Keep the end: the mark may be half in it.
                self._add_noise(self._held[:excess])
                self._held = self._held[excess:]
            return False
        self._add_noise(before)
        self._held, self.begun = after, True
        return True

    def _after(self, data: bytes) -> None:
        """Read the exit code that follows the second mark; the rest is noise."""
        if self.exit_code is None and len(self._tail) < _CODE_LIMIT:
            self._tail += data
            number, newline, data = self._tail.partition(b"\n")
            if not newline:
                return
            if number.isdigit():
                self.exit_code = int(number)
        self._add_noise(data)

    def _add_noise(self, data: bytes) -> None:
        self.noise = (self.noise + data)[:_NOISE_LIMIT]


def _overlap(data: bytes, mark: bytes) -> int:
    """Return how many of the last bytes may be the beginning of ``mark``."""
    for size in range(min(len(mark) - 1, len(data)), 0, -1):
        if data.endswith(mark[:size]):
            return size
    return 0
