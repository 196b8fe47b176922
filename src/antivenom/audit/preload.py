"""What the server that workers are forked from imports, so that no worker imports it again. No thread is started."""

from contextlib import suppress

import torch

from antivenom.core.errors import PluginError
from antivenom.core.registry import load_builtin

with suppress(PluginError):  # a third party's broken package: whoever asks for a plugin is told
    load_builtin()
torch.optim.SGD([torch.zeros(1, requires_grad=True)])  # torch imports a third of itself for its first optimiser
