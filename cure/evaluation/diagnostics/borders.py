"""Check for gradients at pixels of exactly 0 and 1, where images have pixels and iterates are clipped to."""

import torch

from cure.evaluation.diagnostics.check import Check
from cure.evaluation.diagnostics.preflight_batch import PreflightContext, Verdict
from cure.nn.inputs import MARGIN, inside

BORDERS = "borders"  # the name of the check


def clamps(lines: list[Check]) -> bool:
    """Return whether the network has no gradient at pixels of exactly 0 or 1, but one slightly inside."""
    return any(line.name == BORDERS and line.passed is None for line in lines)


def borders(context: PreflightContext) -> Verdict:
    """Compare gradients at pixels of exactly 0 and 1, slightly inside [0, 1], and a quarter inside."""
    extreme = (context.few > context.few.mean()).to(context.few.dtype)
    views = {"at": extreme, "near": inside(extreme), "far from": 0.25 + 0.5 * extreme}
    try:
        found = {name: context.gradients(view) for name, view in views.items()}
    except Exception:  # another check reports a network without gradients
        return True, "no gradients to compare"
    alive = {name: torch.stack([g != 0 for g in losses.values()]).any(0) for name, losses in found.items()}
    sides = {"0": extreme == 0, "1": extreme == 1}
    shares = {
        side: {name: float(g[pixels].float().mean()) for name, g in alive.items()}
        for side, pixels in sides.items()
        if bool(pixels.any())
    }
    blind = [side for side, share in shares.items() if share["near"] < (1 - context.rules.alive) * share["far from"]]
    if blind:
        return False, f"gradients vanish near pixels of {' and '.join(blind)}"
    lost = [side for side, share in shares.items() if share["at"] < context.rules.alive * share["near"]]
    if lost:
        return None, (
            f"gradients vanish at pixels that are exactly {' or '.join(lost)} and return {MARGIN:g} inside; "
            "attacks keep that distance"
        )
    return True, "gradients at pixels of 0 and 1 are as near them"
