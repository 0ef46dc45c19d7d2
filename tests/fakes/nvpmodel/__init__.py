"""A machine with power modes: NVIDIA's table under its root, and a stand-in for nvpmodel on a PATH of its own."""

from __future__ import annotations

import sys
from pathlib import Path

HERE = Path(__file__).parent


class Jetson:
    """One machine below ``folder``."""

    def __init__(self, folder: Path, table: str = "p3767-0000-super", mode: str = "25W") -> None:
        self.root, self.bin = folder / "machine", folder / "bin"
        (self.root / "etc").mkdir(parents=True)
        self.bin.mkdir()
        text = (HERE / f"{table}.conf").read_text(encoding="utf-8")
        (self.root / "etc/nvpmodel.conf").write_text(text, encoding="utf-8")
        program = (HERE / "stand_in.py").read_text(encoding="utf-8")
        tool = self.bin / "nvpmodel"
        tool.write_text(f"#!{sys.executable} -S\n{program}", encoding="utf-8")
        tool.chmod(0o755)
        (self.bin / "table").write_text(text, encoding="utf-8")
        (self.bin / "mode").write_text(mode)
        (self.bin / "booted").write_text(mode)
        (self.bin / "calls").touch()
        self.habit("")

    def habit(self, name: str) -> None:
        """From now on it is honest (empty), or ``asks`` | ``lies`` | ``fails`` | ``hangs`` | ``chroot``."""
        (self.bin / "habit").write_text(name)

    @property
    def mode(self) -> str:
        return (self.bin / "mode").read_text().strip()

    @property
    def rebooted(self) -> bool:
        return (self.bin / "rebooted").exists()

    @property
    def calls(self) -> list[str]:
        return (self.bin / "calls").read_text().splitlines()

    def sets(self) -> list[str]:
        """What it was told to set."""
        return [call for call in self.calls if call.startswith("-m")]
