"""Preflight: what would make an evaluation worthless, looked for in seconds before it starts.

Each line asks for one thing that gradient attacks and AutoAttack take for granted. The list ends at the first line
without which the others have no meaning (`forward`, `output`, `classes`), so a list that ends early is red. A line is
grey where the images are too few to tell. The network is looked at in the mode in which it comes, and is afterwards as
it was.
"""

from collections.abc import Callable
from contextlib import suppress

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment
from scipy.stats import binomtest
from torch import Tensor, nn

from cure.errors import UserError, first_sentence
from cure.evaluation.diagnostics.check import Line
from cure.evaluation.diagnostics.preflight_batch import PreflightContext, apart
from cure.evaluation.diagnostics.preserve_state import preserve_state
from cure.nn.outputs import FirstOutput, outputs
from cure.settings.sections import Preflight

Verdict = tuple[bool | None, str]
FGSM = 8 / 255  # any radius would do: the logits only have to stay finite


def preflight(net: nn.Module, x: Tensor, y: Tensor, classes: int, rules: Preflight) -> list[Line]:
    """Every line about a network of `classes` logits, from labelled images x (n, c, h, w), of which it sees a few.

    An exception inside the network becomes a red line. Refuses an empty batch.
    """
    if not len(x):
        raise UserError("preflight: no images; give it a small labelled batch")
    lines = []
    with preserve_state(net):
        net.requires_grad_(False)
        look = PreflightContext(net, x, y, classes, rules)
        for name, (check, advice) in CHECKS.items():
            passed: bool | None
            try:
                passed, found = check(look)
            except Exception as problem:  # foreign code may fail in any way
                passed, found = False, first_sentence(problem)
            lines.append(Line(name, passed, found, advice))
            if name in NEEDED and not passed:
                break
    return lines


def _images(look: PreflightContext) -> Verdict:
    x = look.given
    low, high = float(x.min()), float(x.max())
    fits = x.ndim == 4 and x.is_floating_point() and 0 <= low < high <= 1
    return fits, f"{tuple(x.shape)} {str(x.dtype).removeprefix('torch.')}, values from {low:.4g} to {high:.4g}"


def _forward(look: PreflightContext) -> Verdict:
    with torch.no_grad():
        look.net(look.x)
    return True, f"runs on {tuple(look.x.shape)} images"


def _output(look: PreflightContext) -> Verdict:
    z = look.output
    if not isinstance(z, Tensor):
        return False, f"a {type(z).__name__} of {len(outputs(z))} outputs"
    found = f"a tensor {tuple(z.shape)} of {len(look.x)} images"
    if isinstance(look.net, FirstOutput):
        with torch.no_grad():
            found += f", the first of {len(outputs(look.net.net(look.few)))} outputs"
    return z.ndim == 2 and len(z) == len(look.x) and z.is_floating_point(), found


def _precision(look: PreflightContext) -> Verdict:
    return look.z.dtype in (torch.float32, torch.float64), f"logits are {str(look.z.dtype).removeprefix('torch.')}"


def _inside(look: PreflightContext) -> Verdict:
    return not look.backwards, "a backward pass ran inside the forward" if look.backwards else "none in a forward"


def _classes(look: PreflightContext) -> Verdict:
    k, low, high = look.z.shape[1], int(look.y.min()), int(look.y.max())
    found = f"{k} logits, {look.classes} classes, labels from {low} to {high}"
    return k == look.classes >= 2 and 0 <= low <= high < k, found


def _logits(look: PreflightContext) -> Verdict:
    z = look.z.float()
    if bool((z >= 0).all()) and float((z.sum(1) - 1).abs().max()) < 1e-3:
        return False, "rows are not negative and sum to one: probabilities"
    if float(z.logsumexp(1).abs().max()) < 1e-3:
        return False, "exponentials of every row sum to one: log-probabilities"
    return True, f"values from {float(z.min()):.3g} to {float(z.max()):.3g}"


def _finite(look: PreflightContext) -> Verdict:
    views = {"clean": look.x, "black": torch.zeros_like(look.few), "white": torch.ones_like(look.few)}
    with suppress(Exception):  # a network without gradients has a line of its own
        g = look.gradients(look.few)["CE"].nan_to_num()
        views["FGSM"] = (look.few + FGSM * g.sign()).clamp(0, 1)
    with torch.no_grad():
        bad = [name for name, x in views.items() if not bool(look.net(x).isfinite().all())]
    return not bad, f"{'not ' if bad else ''}finite on {', '.join(bad or views)} images"


def _mode(look: PreflightContext) -> Verdict:
    training = [name or type(look.net).__name__ for name, module in look.net.named_modules() if module.training]
    more = f" and {len(training) - 1} more modules" if len(training) > 1 else ""
    return not training, f"{training[0]}{more} in training mode" if training else "every module in eval mode"


def _repeated(look: PreflightContext) -> Verdict:
    flips = int(torch.stack([z.argmax(1) for z in look.repeats]).ne(look.repeats[0].argmax(1)).any(0).sum())
    found = f"logits of {len(look.repeats)} equal forwards differ by {look.spread:.2g}"
    return look.spread <= look.rounding, f"{found}; {flips} of {len(look.few)} predictions change"


def _batch(look: PreflightContext) -> Verdict:
    company = look.logits(torch.cat([look.few, 1 - look.few]))[: len(look.few)]
    alone, alike = look.logits(look.few[:1]), look.repeats[0]
    moved = max(apart(company, alike), apart(alone, alike[:1]))
    return (
        moved <= look.rounding + look.rules.spread * look.spread,
        f"logits move by {moved:.2g} with the rest of the batch",
    )


def _gradients(look: PreflightContext) -> Verdict:
    found, least = [], 1.0
    for name, g in look.gradients(look.x).items():
        g = g.flatten(1)
        alive = (g != 0).any(1) & g.isfinite().all(1)
        least = min(least, float(alive.float().mean()))
        pixels = 100 * float((g != 0).float().mean())
        found.append(f"{int(alive.sum())} of {len(g)} images on {name} ({pixels:.0f} % of the pixels)")
    return least >= look.rules.alive, f"finite and not zero for {', '.join(found)}"


def _accuracy(look: PreflightContext) -> Verdict:
    y, predicted = look.y.cpu().numpy(), look.z.argmax(1).cpu().numpy()
    right, chance = int((y == predicted).sum()), 1 / look.classes
    found = f"{right} of {len(y)} clean images right, {chance * len(y):.1f} by chance"
    if binomtest(right, len(y), chance, alternative="greater").pvalue < look.rules.level:
        return True, found
    half_way = binomtest(right, len(y), (1 + chance) / 2, alternative="less")
    if half_way.pvalue >= look.rules.level:
        return None, f"{found}: too few to tell guessing from knowing"
    seen = np.zeros((look.classes, look.classes), dtype=int)
    np.add.at(seen, (y, predicted), 1)
    best = int(seen[linear_sum_assignment(seen, maximize=True)].sum())
    return False, f"{found}; {best} if the classes were in the best other order"


CHECKS: dict[str, tuple[Callable[[PreflightContext], Verdict], str]] = {  # check, and what to do where it is red
    "images": (_images, "give float images (n, c, h, w) in [0, 1]: divide by 255, normalise inside the network"),
    "forward": (_forward, "it fails on such images: it may want other channels, another size, batch or precision"),
    "output": (_output, "return one tensor (n, classes); wrap a network of several outputs in FirstOutput"),
    "precision": (_precision, "compute in float32: half precision blinds gradient attacks and ties predictions"),
    "autograd": (_inside, "an optimisation loop at inference needs an attack made for it (Croce et al. 2022)"),
    "classes": (_classes, "build the network with as many logits as the data set has classes, labelled from 0"),
    "logits": (_logits, "return logits, before softmax: saturated probabilities hide the gradient"),
    "finite": (_finite, "look for overflow, a division by zero, or 16-bit arithmetic"),
    "eval mode": (_mode, "call net.eval(), of a saved program before it is saved"),
    "determinism": (_repeated, "a network that draws at random needs aa_rand: AutoAttack on the mean of 20 gradients"),
    "batch": (_batch, "a prediction must depend on its image alone: use running batch-norm statistics"),
    "gradients": (_gradients, "rounding, detaching or saturation blinds gradient attacks: trust black boxes alone"),
    "accuracy": (_accuracy, "check the order of the classes, the normalisation and the order of channels"),
}
NEEDED = {"forward", "output", "classes"}  # by all that follow
