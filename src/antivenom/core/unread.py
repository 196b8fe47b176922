"""What a command prints may find no reader, as before `| head`."""

from __future__ import annotations

import os
from typing import IO


def unread(stream: IO[str]) -> None:
    """Let the stream write into nothing from here on, since its reader has left."""
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, stream.fileno())
    os.close(null)
