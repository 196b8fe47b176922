"""Imports in the server from which workers are forked, so that no worker repeats them.

Nothing here may start a thread, because threads do not survive a fork.
"""

import gc
from contextlib import suppress

from antivenom.core.errors import PluginError
from antivenom.core.garbage import uncollected
from antivenom.core.processes import while_parent_lives

with while_parent_lives(), uncollected():
    import sklearn.datasets
    import torch

    from antivenom.core.registry import load_builtin
    from antivenom.fast import available

    with suppress(PluginError):  # from a third party's broken package; a worker that asks for a plugin raises it again
        load_builtin()
    torch.optim.SGD([torch.zeros(1, requires_grad=True)])  # the first optimiser triggers many of torch's lazy imports
    sklearn.datasets.load_digits  # noqa: B018 - scikit-learn's lazy imports
    if available():
        from numba.core.registry import cpu_target

        with suppress(AttributeError):  # an internal of numba: its tables, which the first compiled call would fill
            cpu_target.typing_context.refresh()
            cpu_target.target_context.refresh()

gc.freeze()  # all of it stays: no worker's collector visits it, so its memory remains shared
