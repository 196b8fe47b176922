"""Environments of the peers: each has its own, with its package from PyPI and the torch of this interpreter.

What a package declares and does not need is overruled here, and only here: byzpy's older torch, krum's Python 3.12,
blazefl's Python 3.14, and torchvision's compiled part, which is for another build of torch.
"""

from __future__ import annotations

import re
import subprocess
import sys
import sysconfig
from pathlib import Path

import torch

VISION = f"torchvision==0.{int(torch.__version__.split('.')[1]) + 15}.*"  # the release beside this torch
STEPS = {  # what pip is asked for, one call after the other
    "byzfl": (f"--no-deps byzfl {VISION}", "pillow seaborn"),
    "byzpy": ("--no-deps --ignore-requires-python byzpy",),
    "krum": ("--no-deps --ignore-requires-python krum",),
    "flwr": ("flwr[simulation]",),
    "pfl": ("pfl",),
    "blazefl": ("--no-deps --ignore-requires-python blazefl", "tqdm"),
}


def environments(folder: Path, peers: tuple[str, ...]) -> dict[str, str]:
    """Each peer's interpreter; an environment that is not there, or not whole, is made."""
    return {peer: str(_environment(folder / peer, peer)) for peer in peers}


def _environment(home: Path, peer: str) -> Path:
    python, whole = home / "bin" / "python", home / "whole"
    if whole.exists():
        return python
    subprocess.run([sys.executable, "-m", "venv", "--clear", str(home)], check=True)
    asked = "import sysconfig; print(sysconfig.get_paths()['purelib'])"
    site = Path(subprocess.run([python, "-c", asked], check=True, capture_output=True, text=True).stdout.strip())
    (site / "same_torch.pth").write_text(sysconfig.get_paths()["purelib"])
    for step in STEPS[peer]:
        subprocess.run([python, "-m", "pip", "install", "-q", *step.split()], check=True)
    if peer == "byzfl":
        (site / "torchvision" / "_meta_registrations.py").write_text("")
    if peer == "blazefl":
        _for_older_python(site / "blazefl")
    whole.touch()
    return python


def _for_older_python(package: Path) -> None:
    """Annotations are not read, and generic functions are in the notation before Python 3.12: `def f(`, not `def f[T](`."""
    for source in package.rglob("*.py"):
        text = re.sub(r"(?m)^def (\w+)\[T\]\(", r"def \1(", source.read_text())
        source.write_text(f"from __future__ import annotations\n{text}")


def versions(pythons: dict[str, str]) -> str:
    """Names and versions of the peers, for a table's head."""
    ask = "import importlib.metadata as m, sys; print(m.version(sys.argv[1]))"
    found = {
        peer: subprocess.run([python, "-c", ask, peer], check=True, capture_output=True, text=True).stdout.strip()
        for peer, python in pythons.items()
    }
    return ", ".join(f"{peer} {version}" for peer, version in found.items())
