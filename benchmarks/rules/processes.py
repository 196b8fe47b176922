"""A program in its own process, asked and answered over a socket pair; and the section of a table in RESULTS.md."""

from __future__ import annotations

import os
import socket
import subprocess
from contextlib import suppress
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parents[1] / "RESULTS.md"


class Process:
    """The command gets one more argument, the number of its end of the socket pair; what it says first is `ready`.

    It is started anew after a question that it did not answer in time, or that was its end.
    """

    def __init__(self, command: list[str], **settings: str) -> None:
        self.command, self.settings = command, settings
        self.start()

    def start(self) -> None:
        mine, theirs = socket.socketpair()
        with theirs:
            number = theirs.fileno()
            environment = os.environ | self.settings
            self.process = subprocess.Popen([*self.command, str(number)], pass_fds=[number], env=environment)
        self.channel = Connection(mine.detach())
        self.ready = self.channel.recv()

    def ask(self, question: Any, limit: float) -> Any:
        """The answer, or what became of the process instead, as text."""
        self.channel.send(question)
        try:
            if self.channel.poll(limit):
                return self.channel.recv()
            missing = f"> {limit:.0f} s"
        except (EOFError, ConnectionResetError):
            missing = "died"
        self.end()
        self.start()
        return missing

    def end(self, patience: float = 0) -> None:
        """Wait some seconds whether it ends by itself, then end it."""
        with suppress(subprocess.TimeoutExpired):
            self.process.wait(patience)
        self.process.kill()
        self.process.wait()
        self.channel.close()


def load_average() -> str:
    """Of the whole machine, in the last minute."""
    return Path("/proc/loadavg").read_text().split()[0]


def processor() -> str:
    model = next((line for line in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in line), ":?")
    return model.split(":")[1].strip()


def write_section(name: str, text: str, path: Path = RESULTS) -> None:
    """Replace the section between its marker comments, or add it."""
    begin, end = f"<!-- {name} -->", f"<!-- end of {name} -->"
    old = path.read_text() if path.exists() else "# Side by side\n"
    section = f"{begin}\n{text.strip()}\n{end}"
    if begin in old:
        before, rest = old.split(begin)
        old = before + section + rest.split(end)[1]
    else:
        old = f"{old.rstrip()}\n\n{section}\n"
    path.write_text(old)
