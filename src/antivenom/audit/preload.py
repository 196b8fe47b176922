"""Imports in the server from which workers are forked, so that no worker repeats them.

Nothing here may start a thread, because threads do not survive a fork.
"""

from contextlib import suppress

import torch

from antivenom.core.errors import PluginError
from antivenom.core.registry import load_builtin

with suppress(PluginError):  # from a third party's broken package; a worker that asks for a plugin raises it again
    load_builtin()
torch.optim.SGD([torch.zeros(1, requires_grad=True)])  # the first optimiser triggers many of torch's lazy imports
