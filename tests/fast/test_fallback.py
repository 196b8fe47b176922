"""Without numba everything works in the plain form; and code is compiled for the processor that numba is told."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

BLOCKED = "import gc, sys; gc.disable(); sys.modules['numba'] = sys.modules['llvmlite'] = None\n"
EVERY_MODULE = """
import importlib.util, pkgutil
import antivenom
from antivenom import fast

compiled = {"compiled", "descent", "processor", "products", "assembly", "mixing", "orders", "rows"}
for module in pkgutil.walk_packages(antivenom.__path__, "antivenom."):
    name = module.name
    if name.startswith("antivenom.fast.") and name.rpartition(".")[2] in compiled or name.endswith("__main__"):
        continue
    if name.startswith("antivenom.integrations.flower") and not importlib.util.find_spec("flwr"):
        continue  # an extra that need not be installed
    importlib.import_module(name)
assert not fast.available()
"""
EVERY_KERNEL = """
import torch
from antivenom.fast import kernels
from antivenom.fast.kernels import plain

x = torch.tensor([[1.0, 2, 4], [2, 4, 8], [9, 9, 9], [0, 0, 1]])
c = torch.tensor([0.0, 0, 1, 0])
assert kernels.median(x).tolist() == [1.5, 3, 6]
assert kernels.trimmed_mean(x, 1).tolist() == [1.5, 3, 6]
assert kernels.mean_around_median(x, 2).tolist() == [1.5, 3, 6]
assert kernels.mean_around_median(x, 1, torch.tensor([0, 1, 3])).tolist() == [1, 2, 4]
assert torch.equal(kernels.gram(x), plain.gram(x))
assert kernels.norms(x).square().tolist() == [21, 84, 243, 1]
assert kernels.combine(c, x).tolist() == [9, 9, 9]
assert kernels.mix(torch.ones(1, 4), x).tolist() == [[12, 15, 22]]
assert kernels.finite_rows(x).all()
"""
TRAINING = """
import torch
from antivenom.core.streams import Streams
from antivenom.fast.dense import supports
from antivenom.federated.clients import Client, loop_note, one_by_one, trained
from antivenom.models.architectures import MLP
from antivenom.models.network import build
from antivenom.models.training import Training

network, training = build(MLP((5,)), (6,), 3, Streams(0)), Training(epochs=2, batch_size=4)
draw = torch.Generator().manual_seed(0)
x, y = torch.randn(20, 6, generator=draw), torch.randint(3, (20,), generator=draw)
clients = [Client(network, network.initial, x, y, training, Streams(seed)) for seed in range(3)]
torch.testing.assert_close(trained(clients), one_by_one(clients))
assert supports(network, training) == "numba and llvmlite cannot be imported (pip install 'antivenom[fast]')"
assert "without compiled code" in loop_note(network, training, "cpu")
"""
GENERIC = """
import torch
from antivenom.fast import kernels
from antivenom.fast.kernels import plain
from antivenom.fast.processor import FEATURES, NAME, REGISTER, WIDE

assert (NAME, FEATURES, REGISTER, WIDE) == ("generic", "", 16, False)
x = (8 * torch.randn(7, 1000, generator=torch.Generator().manual_seed(0))).round() / 8
c = torch.tensor([[1.0, 2, 3, 0, 0, -1, 4]])
assert torch.equal(kernels.median(x), plain.median(x))
assert torch.equal(kernels.mix(c, x), c @ x)
"""


def run(source: str, **environment: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", source],
        env=os.environ | environment,
        cwd=Path(__file__).parent,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def test_without_numba_every_kernel_and_training_takes_the_plain_form() -> None:
    run(BLOCKED + EVERY_MODULE + EVERY_KERNEL + TRAINING)


def test_our_own_code_is_compiled_for_the_processor_that_numba_is_told() -> None:
    pytest.importorskip("numba")
    run(GENERIC, NUMBA_CPU_NAME="generic")


def test_numba_that_may_not_compile_counts_as_absent() -> None:
    pytest.importorskip("numba")
    run("from antivenom.fast import available\nassert not available()", NUMBA_DISABLE_JIT="1")
