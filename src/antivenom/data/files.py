"""Finds the files of named data sets: in $ANTIVENOM_DATA, a system package, the user's cache, or by a checked download."""

from __future__ import annotations

import functools
import hashlib
import os
import stat
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar
from urllib.parse import urlsplit

from antivenom.core.errors import DataError, DataNotFound
from antivenom.core.regular import content_of, opened
from antivenom.data import limits

T = TypeVar("T")
OFFLINE = "ANTIVENOM_OFFLINE"


@dataclass(frozen=True)
class PublishedFile:
    """One file of a data set.

    Fields:
        filename: its name in $ANTIVENOM_DATA and in the cache, where it may also have or lack the suffix `.gz`.
        url: where it is published; empty if it is not published in this form.
        checksum: "sha256:..." or "md5:..." of the published bytes. A download or a file in the cache with another hash is
            refused.
        package_path: its path in a system package; empty if there is none.
        how: advice on how to get it without a download.
        other: name of a file with the same content in another form, which is also looked for; empty if there is none.
    """

    filename: str
    url: str = ""
    checksum: str = ""
    package_path: str = ""
    how: str = ""
    other: str = ""


def cache_folder() -> Path:
    """The folder for downloads in the user's cache."""
    import pooch

    return Path(pooch.os_cache("antivenom"))


def candidates(source: PublishedFile) -> list[Path]:
    """All paths at which the file is looked for, in order."""
    plain = source.filename.removesuffix(".gz")
    packed = plain if plain != source.filename else plain + ".gz"
    names = [name for name in (source.filename, packed, source.other) if name]
    own = os.environ.get("ANTIVENOM_DATA")
    return [
        *(Path(own).expanduser() / name for name in names if own),
        *([Path(source.package_path)] if source.package_path else []),
        *(cache_folder() / name for name in names),
    ]


def locate(source: PublishedFile) -> Path:
    """The file's path. A file that is not on this machine is downloaded.

    Raises:
        DataNotFound: the file is missing and cannot be downloaded; the message says where it was looked for.
        DataError: a folder cannot be searched, or a file in the cache is not the published one.
    """
    for place in candidates(source):
        try:
            if stat.S_ISREG(place.stat().st_mode):  # is_file() would hide that a folder is not accessible
                if place.parent == cache_folder() and source.checksum:
                    _require_published(place, source)
                return place
        except (FileNotFoundError, NotADirectoryError):
            continue
        except OSError as error:
            raise broken(place, error) from error
    reason = (
        f"{OFFLINE} is set"
        if os.environ.get(OFFLINE)
        else _download(source)
        if source.url
        else "it is not published as this one file"
    )
    if reason is None:
        return cache_folder() / source.filename
    places = [
        f"$ANTIVENOM_DATA ({os.environ.get('ANTIVENOM_DATA') or 'not set'})",
        *([str(Path(source.package_path).parent)] if source.package_path else []),
        str(cache_folder()),
    ]
    raise DataNotFound(
        f"the file {source.filename} in {', '.join(places[:-1])} or {places[-1]}",
        f"no such file, and no download ({reason})",
        source.how or f"fetch {source.url} into $ANTIVENOM_DATA",
    )


def _require_published(place: Path, source: PublishedFile) -> None:
    """Refuse a file in the cache that is not the published one. It may be packed there although it is published plain."""
    state = place.stat()
    packed = place.name == f"{source.filename}.gz"
    if place.name != source.filename and not packed:
        got = f"{place.name}, another form of it, which has no published checksum"
        raise DataError(
            f"{source.filename} in {place.parent}", got, "move it into $ANTIVENOM_DATA, where you vouch for it"
        )
    if not _has(place, source.checksum, packed, state.st_size, state.st_mtime_ns, state.st_ino):
        raise broken(place, "another checksum than the published one")


@functools.lru_cache(maxsize=64)
def _has(place: Path, checksum: str, packed: bool, *_: int) -> bool:
    """Whether the file has that checksum. Size, time and inode are arguments so that a change of the file is noticed."""
    name, expected = checksum.split(":")
    if packed:
        return hashlib.new(name, read_bytes(place), usedforsecurity=False).hexdigest() == expected
    with opened(place) as file:
        found = hashlib.file_digest(file, lambda: hashlib.new(name, usedforsecurity=False))
    return found.hexdigest() == expected


class _Progress:
    """Adapts rich's progress bar to the interface that pooch expects; it counts the bytes of one download."""

    def __init__(self, filename: str) -> None:
        from rich.console import Console
        from rich.progress import Progress

        console = Console(stderr=True)
        self._bar = Progress(console=console, transient=True, disable=not console.is_terminal)
        self._task = self._bar.add_task(filename, total=None)
        self.total = 0

    def update(self, size: int) -> None:
        self._bar.start()
        self._bar.update(self._task, advance=size, total=self.total or None)

    def reset(self) -> None:
        self._bar.reset(self._task, total=self.total or None)

    def close(self) -> None:
        self._bar.stop()


def _download(source: PublishedFile) -> str | None:
    """Download the file into the cache with a progress bar. Returns None on success, else the reason of the failure."""
    import pooch

    progress = _Progress(source.filename)
    host = urlsplit(source.url).netloc
    try:
        pooch.retrieve(
            source.url,
            source.checksum,
            fname=source.filename,
            path=cache_folder(),
            downloader=pooch.HTTPDownloader(progressbar=progress, chunk_size=1 << 16, timeout=20),
        )
    except ValueError as error:
        if "hash" in str(error):  # pooch has no exception class for a wrong hash; it leaves no file behind
            return f"the copy at {host} does not have the published checksum and was refused"
        return f"{type(error).__name__} from {host}"
    except Exception as error:  # a network raises many classes of exceptions, which mean the same to the user
        return f"{type(error).__name__} from {host}"
    finally:
        progress.close()
    return None


def read_bytes(path: Path) -> bytes:
    """The file's content, decompressed if its name ends in .gz.

    Raises:
        DataError: the file is unreadable, truncated, no regular file, or larger than `limits.MOST_BYTES`.
    """
    try:
        return limits.unpacked(content_of(path, limits.MOST_BYTES), path.suffix if path.suffix == ".gz" else "")
    except OSError as error:
        raise broken(path, error.strerror or str(error)) from error


def broken(path: Path, error: Exception | str) -> DataError:
    """The error for a file that cannot be read."""
    return DataError(f"a complete, readable {path.name}", f"{error} in {path}", "delete the file and fetch it again")


def parse(path: Path, parser: Callable[[bytes], T]) -> T:
    """Apply `parser` to the file's bytes.

    Raises:
        DataError: the file cannot be read or parsed; the message names it.
    """
    content = read_bytes(path)
    try:
        return parser(content)
    except Exception as error:  # a truncated file can make the parser raise anything
        raise broken(path, f"{type(error).__name__}: {' '.join(str(error).split())[:120]}") from error
