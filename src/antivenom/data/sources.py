"""Where the bytes of a named data set are: $ANTIVENOM_DATA, a system package, the user cache, else a checked download."""

from __future__ import annotations

import gzip
import os
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from antivenom.errors import DataError, DataNotFound

T = TypeVar("T")
OFFLINE = "ANTIVENOM_OFFLINE"


@dataclass(frozen=True)
class Source:
    """One file of a data set.

    Fields:
        filename: its name in $ANTIVENOM_DATA and in the cache; `.gz` beside it is taken as well.
        url: where it is published.
        checksum: "sha256:..." or "md5:..." of the published bytes; a download that differs is refused.
        package_path: where a system package puts it, if one does.
        how: how a person without network gets it.
    """

    filename: str
    url: str
    checksum: str
    package_path: str = ""
    how: str = ""


def cache_folder() -> Path:
    import pooch

    return Path(pooch.os_cache("antivenom"))


def candidates(source: Source) -> list[Path]:
    """Every place where the file is looked for, in order."""
    folders = [Path(os.environ["ANTIVENOM_DATA"])] if os.environ.get("ANTIVENOM_DATA") else []
    folders.append(cache_folder())
    places = [folder / name for folder in folders for name in (source.filename, source.filename + ".gz")]
    if source.package_path:
        places.insert(2 if len(folders) > 1 else 0, Path(source.package_path))
    return places


def locate(source: Source) -> Path:
    """The file's path, downloading it if it is nowhere.

    Raises:
        DataNotFound: absent and not downloadable; one line with the file, the places and how to get it.
    """
    places = candidates(source)
    for place in places:
        if place.is_file():
            return place
    reason = f"{OFFLINE} is set" if os.environ.get(OFFLINE) else _download(source)
    if reason is None:
        return cache_folder() / source.filename
    remedy = source.how or f"fetch {source.url} into $ANTIVENOM_DATA"
    raise DataNotFound(
        f"the file {source.filename} in $ANTIVENOM_DATA ({os.environ.get('ANTIVENOM_DATA') or 'not set'}) "
        f"or in {cache_folder()}",
        f"no such file, and no download ({reason})",
        remedy,
    )


def _download(source: Source) -> str | None:
    """Fetch into the cache with a progress bar; None when it is there, else why not."""
    import pooch

    try:
        pooch.retrieve(
            source.url,
            source.checksum,
            fname=source.filename,
            path=cache_folder(),
            downloader=pooch.HTTPDownloader(timeout=20),
        )
    except Exception as error:  # the network fails in many classes; each means the same to the user
        return f"{type(error).__name__} from {source.url.split('/')[2]}"
    return None


def read_bytes(path: Path) -> bytes:
    """The file's content, unpacked if its name ends in .gz.

    Raises:
        DataError: unreadable or truncated.
    """
    try:
        raw = path.read_bytes()
        return gzip.decompress(raw) if path.suffix == ".gz" else raw
    except (OSError, EOFError, zlib.error) as error:
        raise broken(path, error) from error


def broken(path: Path, error: Exception | str) -> DataError:
    return DataError(f"a complete, readable {path.name}", f"{error} in {path}", "delete the file and fetch it again")


def parse(path: Path, parser: Callable[[bytes], T]) -> T:
    """`parser` over the file's bytes; whatever goes wrong is a DataError that names the file."""
    content = read_bytes(path)
    try:
        return parser(content)
    except DataError:
        raise
    except Exception as error:  # a truncated file fails wherever the parser happens to be
        raise broken(
            path, f"{type(error).__name__}: {str(error).splitlines()[0][:80] if str(error) else ''}"
        ) from error
