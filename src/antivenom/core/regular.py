"""Reading of regular files only, and writing of whole ones.

A pipe or a device may never end, and opening one may wait for ever.
"""

from __future__ import annotations

import contextlib
import errno
import io
import os
import stat
from pathlib import Path

NOT_REGULAR = "no regular file"


def opened(path: str | Path) -> io.BufferedReader:
    """A regular file, open for reading.

    Raises:
        OSError: it cannot be opened, or it is a pipe, a device or a folder (`strerror` is then `NOT_REGULAR`).
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)  # a pipe without a writer would block
    except ValueError as error:  # a zero byte in the path
        raise OSError(errno.EINVAL, "no path of a file") from error
    if stat.S_ISREG(os.fstat(descriptor).st_mode):
        return open(descriptor, "rb")
    os.close(descriptor)
    raise OSError(errno.EINVAL, NOT_REGULAR)


def content_of(path: str | Path, most: int) -> bytes:
    """The bytes of a regular file of at most `most` bytes.

    Raises:
        OSError: as `opened`; or the file is longer.
    """
    with opened(path) as file:
        content = file.read(most + 1)
    if len(content) > most:
        raise OSError(errno.EFBIG, f"more than {most >> 20} MiB")
    return content


def write_whole(path: Path, content: bytes, mode: int = 0o666) -> None:
    """Write a file, or replace it, at once: whoever reads it finds the old content or the new one, never a part.

    The content is first written into a draft beside it, `.NAME.part`. What an interrupted run left there is removed, and so is
    a link, through which another file would be written. The draft is removed if it cannot be finished.

    Raises:
        OSError: it cannot be written.
    """
    draft = path.with_name(f".{path.name}.part")
    try:
        draft.unlink(missing_ok=True)
        with open(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, mode), "wb") as file:
            file.write(content)
        draft.replace(path)
    except OSError:
        with contextlib.suppress(OSError):
            draft.unlink(missing_ok=True)
        raise
