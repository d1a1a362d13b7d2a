"""Second derivatives, which the operators do not have."""

from __future__ import annotations

import torch


def refuse_second_derivatives() -> None:
    """Refuse ``create_graph=True``: these operators record nothing for second derivatives.

    :raises RuntimeError: it is being computed
    """
    if torch.is_grad_enabled():
        raise RuntimeError("kernel=native: has no second derivatives; use kernel=naive for them")
