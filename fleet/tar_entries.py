"""Tar archives that another machine wrote: entries that are what they say, and headers of a size that one can hold."""

from __future__ import annotations

import tarfile

#: Long names and pax headers come before an entry, and are read into memory.
MAX_HEADER_BYTES = 1 << 20
_HEADERS = (
    tarfile.XHDTYPE,
    tarfile.XGLTYPE,
    tarfile.SOLARIS_XHDTYPE,
    tarfile.GNUTYPE_LONGNAME,
    tarfile.GNUTYPE_LONGLINK,
)


class PlainTarInfo(tarfile.TarInfo):
    """An entry whose size is that of its bytes in the archive. For ``tarfile.open(…, tarinfo=PlainTarInfo)``.

    A sparse entry of a few hundred bytes may name a terabyte; reading it raises TarError, as do huge headers.
    """

    def _proc_member(self, archive: tarfile.TarFile) -> tarfile.TarInfo:
        if self.type in _HEADERS and self.size > MAX_HEADER_BYTES:
            raise tarfile.HeaderError(f"a header of {self.size} bytes, at most {MAX_HEADER_BYTES} are read")
        if self.type == tarfile.GNUTYPE_SPARSE:
            raise tarfile.HeaderError(f"{self.name[:80]!a} is sparse")
        found: tarfile.TarInfo = super()._proc_member(archive)  # type: ignore[misc]
        if found.issparse():  # by pax headers
            raise tarfile.HeaderError(f"{found.name[:80]!a} is sparse")
        return found
