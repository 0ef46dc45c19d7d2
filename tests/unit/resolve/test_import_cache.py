"""What files import is kept by their content: right after every change, and never needed."""

from __future__ import annotations

from pathlib import Path

import pytest

from fleet.resolve.images import import_cache
from fleet.resolve.images.import_cache import ImportCache


class Parser:
    """Says what a file's words are, and counts how often it was asked."""

    def __init__(self) -> None:
        self.asked = 0

    def __call__(self, source: bytes) -> tuple[str, ...]:
        self.asked += 1
        return tuple(source.decode().split())


@pytest.fixture
def reader(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    file = tmp_path / "reader.py"
    file.write_text("rules")
    return file


def _kept(tmp_path: Path) -> list[Path]:
    return sorted((tmp_path / "cache" / "jetfleet").glob("imports-*"))


def test_the_next_command_parses_only_what_changed(reader: Path, tmp_path: Path) -> None:
    first, second = Parser(), Parser()
    cache = ImportCache(first, reader)
    assert cache.imports(b"a b") == cache.imports(b"a b") == ("a", "b")
    cache.keep()
    assert (first.asked, len(_kept(tmp_path))) == (1, 1)
    again = ImportCache(second, reader)
    assert (again.imports(b"a b"), second.asked) == (("a", "b"), 0)
    assert (again.imports(b"a b c"), second.asked) == (("a", "b", "c"), 1)


def test_other_rules_make_everything_new(reader: Path) -> None:
    cache = ImportCache(Parser(), reader)
    cache.imports(b"a")
    cache.keep()
    reader.write_text("other rules")
    parser = Parser()
    ImportCache(parser, reader).imports(b"a")
    assert parser.asked == 1


@pytest.mark.parametrize("junk", ["", "{", "[]", '{"x": "y"}', '{"x": [1]}', "[" * 100_000])
def test_a_damaged_file_counts_for_nothing(junk: str, reader: Path, tmp_path: Path) -> None:
    cache = ImportCache(Parser(), reader)
    cache.imports(b"a")
    cache.keep()
    _kept(tmp_path)[0].write_text(junk)
    again = ImportCache(Parser(), reader)
    assert again.imports(b"a") == ("a",)
    again.keep()
    parser = Parser()
    assert (ImportCache(parser, reader).imports(b"a"), parser.asked) == (("a",), 0)


def test_a_cache_that_cannot_be_written_is_no_error(
    reader: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    cache = ImportCache(Parser(), reader)
    assert cache.imports(b"a") == ("a",)
    cache.keep()


def test_old_contents_do_not_pile_up(reader: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(import_cache, "MOST", 3)
    old = ImportCache(Parser(), reader)
    for word in (b"a", b"b", b"c"):
        old.imports(word)
    old.keep()
    new = ImportCache(Parser(), reader)
    new.imports(b"d")
    new.keep()
    parser = Parser()
    left = ImportCache(parser, reader)
    left.imports(b"d")
    assert parser.asked == 0
    left.imports(b"a")
    assert parser.asked == 1
