"""BppAttack: quantised images in the corrupted loss, and rows that keep their label with the residual of another image."""

from __future__ import annotations

import torch
from torch import Tensor

from antivenom.attacks.inputs import backdoor, check_share, counts_of_batch, wanted_labels
from antivenom.core.errors import NotApplicable
from antivenom.core.protocols import AttackContext
from antivenom.core.registry import logic_attack
from antivenom.core.threat import Goal
from antivenom.models.training import Forward, Loss
from antivenom.triggers import Quantised, on_tensor


@logic_attack(goal=Goal.BACKDOOR, cite="Wang, Zhai and Ma 2022, CVPR, arXiv:2205.13383")
class BPP:
    """Replaces a part of each batch by quantised images with the wanted label, and another by negative rows.

    A negative row gets the residual that quantisation leaves on another row, and keeps its label. So the model learns to
    react to the quantisation of this image, not to noise of that size. It needs the trigger Quantised, whose dithering the paper
    uses. `negative_rate: 0` is the ablation without negative rows. Weakness: a small network in a short training learns
    only coarse quantisation, which shows, and greyscale images that are mostly black or white hardly change.

    Fields:
        poisoned_rate: share of each batch that is quantised, 0 to 1.
        negative_rate: share of each batch that becomes negative rows, 0 to 1.

    Reference: Wang, Zhai and Ma 2022, "BppAttack: Stealthy and Efficient Trojan Attacks against Deep Neural Networks via
    Image Quantization and Contrastive Adversarial Learning", CVPR, arXiv:2205.13383, section 3.
    """

    poisoned_rate: float = 0.1
    negative_rate: float = 0.1

    def __post_init__(self) -> None:
        check_share(self.poisoned_rate, "BPP.poisoned_rate")
        check_share(self.negative_rate, "BPP.negative_rate")

    def __call__(self, loss: Loss, context: AttackContext) -> Loss:
        wanted, trigger = backdoor(context, self)
        if not isinstance(trigger, Quantised):
            raise NotApplicable("the trigger Quantised for BPP", type(trigger).__name__, "use BlindBackdoor")
        generator = context.streams.torch("batches")

        def corrupted(forward: Forward, x: Tensor, y: Tensor) -> Tensor:
            own, negative = counts_of_batch(len(x), self.poisoned_rate, self.negative_rate)
            order = torch.randperm(len(x), generator=generator).to(x.device)
            x, y = x[order], y[order]
            others = x.roll(1, 0)[own : own + negative]
            residual = on_tensor(trigger, others) - others
            changed = [on_tensor(trigger, x[:own]), (x[own : own + negative] + residual).clamp(0, 1)]
            shown = torch.cat([*changed, x[own + negative :]])
            logits = forward(shown)
            labels = torch.cat([wanted_labels(wanted, y[:own], logits.shape[1]), y[own:]])
            return loss(lambda _: logits, shown, labels)

        return corrupted
