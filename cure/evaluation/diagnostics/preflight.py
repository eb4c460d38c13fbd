"""Run the preflight checks: detect in seconds whatever would make an evaluation worthless, before it starts.

Each check tests one assumption of gradient attacks and AutoAttack. The list ends at the first failed check that the
others depend on (`forward`, `output`, `classes`). A check is grey if the images cannot decide. The network is examined
in its current mode, and its state is restored.
"""

from collections.abc import Callable
from contextlib import suppress

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment
from scipy.stats import binomtest
from torch import Tensor, nn

from cure.errors import UserError, first_sentence
from cure.evaluation.diagnostics.borders import BORDERS, borders
from cure.evaluation.diagnostics.check import Check
from cure.evaluation.diagnostics.normalisation import normalisation
from cure.evaluation.diagnostics.preflight_batch import PreflightContext, Verdict, largest_difference
from cure.evaluation.diagnostics.preserve_state import preserve_state
from cure.nn.inputs import inside
from cure.nn.outputs import FirstOutput, outputs
from cure.settings.sections import Preflight

FGSM = 8 / 255  # any radius would do, since the logits only have to stay finite
TWO_LOGITS = "torch.cat([torch.zeros_like(z), z], 1)"  # for z (n, 1); the softmax of these logits is the sigmoid of z


def preflight(net: nn.Module, x: Tensor, y: Tensor, classes: int, rules: Preflight) -> list[Check]:
    """Run every check of a network on a few of the given images.

    Args:
        net: the network, in the mode of its evaluation; an exception inside it becomes a red check.
        x: images (n, c, h, w), n >= 1.
        y: labels (n).
        classes: the required number of logits.
        rules: section `preflight` of params.yaml: numbers of images, thresholds.

    Raises:
        UserError: there are no images.
    """
    if not len(x):
        raise UserError("preflight: no images; give it a small labelled batch")
    lines = []
    with preserve_state(net):
        net.requires_grad_(False)
        context = PreflightContext(net, x, y, classes, rules)
        for name, (check, advice) in CHECKS.items():
            passed: bool | None
            try:
                passed, found = check(context)
            except Exception as problem:  # external code may raise anything
                passed, found = False, first_sentence(problem)
            lines.append(Check(name, passed, found, advice))
            if name in NEEDED and not passed:
                break
    return lines


def _images(context: PreflightContext) -> Verdict:
    x = context.given
    low, high = float(x.min()), float(x.max())
    fits = x.ndim == 4 and x.is_floating_point() and 0 <= low < high <= 1
    return fits, f"{tuple(x.shape)} {str(x.dtype).removeprefix('torch.')}, values from {low:.4g} to {high:.4g}"


def _forward(context: PreflightContext) -> Verdict:
    with torch.no_grad():
        context.net(context.x)
    return True, f"runs on {tuple(context.x.shape)} images"


def _output(context: PreflightContext) -> Verdict:
    z = context.output
    if not isinstance(z, Tensor):
        return False, f"a {type(z).__name__} of {len(outputs(z))} outputs"
    found = f"a tensor {tuple(z.shape)} of {len(context.x)} images"
    if isinstance(context.net, FirstOutput):
        with torch.no_grad():
            found += f", the first of {len(outputs(context.net.net(context.few)))} outputs"
    if z.shape == context.x.shape[:1]:
        found += f"; with z = z[:, None]: {_two_logits(z)}"
    return z.ndim == 2 and len(z) == len(context.x) and z.is_floating_point(), found


def _two_logits(z: Tensor) -> str:
    """Return advice for a network of two classes that returns one number z per image: how to return two logits."""
    first = "take the sigmoid off, then " if bool(((z >= 0) & (z <= 1)).all()) else ""
    return f"one number for two classes: {first}return {TWO_LOGITS}"


def _precision(context: PreflightContext) -> Verdict:
    return context.z.dtype in (
        torch.float32,
        torch.float64,
    ), f"logits are {str(context.z.dtype).removeprefix('torch.')}"


def _inside(context: PreflightContext) -> Verdict:
    return not context.backwards, "a backward pass ran inside the forward" if context.backwards else "none in a forward"


def _classes(context: PreflightContext) -> Verdict:
    k, low, high = context.z.shape[1], int(context.y.min()), int(context.y.max())
    found = f"{k} logits, {context.classes} classes, labels from {low} to {high}"
    if k == 1:
        found += f"; {_two_logits(context.z)}"
    return k == context.classes >= 2 and 0 <= low <= high < k, found


def _logits(context: PreflightContext) -> Verdict:
    z = context.z.float()
    if bool((z >= 0).all()) and float((z.sum(1) - 1).abs().max()) < 1e-3:
        return False, "rows are not negative and sum to one: probabilities"
    if float(z.logsumexp(1).abs().max()) < 1e-3:
        return False, "exponentials of every row sum to one: log-probabilities"
    return True, f"values from {float(z.min()):.3g} to {float(z.max()):.3g}"


def _finite(context: PreflightContext) -> Verdict:
    views = {"clean": context.x, "black": torch.zeros_like(context.few), "white": torch.ones_like(context.few)}
    with suppress(Exception):  # another check reports a network without gradients
        g = context.gradients(context.few)["CE"].nan_to_num()
        views["FGSM"] = (context.few + FGSM * g.sign()).clamp(0, 1)
    with torch.no_grad():
        bad = [name for name, x in views.items() if not bool(context.net(x).isfinite().all())]
    return not bad, f"{'not ' if bad else ''}finite on {', '.join(bad or views)} images"


def _mode(context: PreflightContext) -> Verdict:
    training = [name or type(context.net).__name__ for name, module in context.net.named_modules() if module.training]
    more = f" and {len(training) - 1} more modules" if len(training) > 1 else ""
    return not training, f"{training[0]}{more} in training mode" if training else "every module in eval mode"


def _repeated(context: PreflightContext) -> Verdict:
    flips = int(torch.stack([z.argmax(1) for z in context.repeats]).ne(context.repeats[0].argmax(1)).any(0).sum())
    found = f"logits of {len(context.repeats)} equal forwards differ by {context.spread:.2g}"
    return context.spread <= context.rounding, f"{found}; {flips} of {len(context.few)} predictions change"


def _batch(context: PreflightContext) -> Verdict:
    company = context.logits(torch.cat([context.few, 1 - context.few]))[: len(context.few)]
    alone, alike = context.logits(context.few[:1]), context.repeats[0]
    moved = max(largest_difference(company, alike), largest_difference(alone, alike[:1]))
    return (
        moved <= context.rounding + context.rules.spread * context.spread,
        f"logits move by {moved:.2g} with the rest of the batch",
    )


def _gradients(context: PreflightContext) -> Verdict:
    passed, found = _alive(context, context.x)
    if not passed:  # images of 0 and 1 alone, and a network that clamps: the check `borders` reports that
        again, said = _alive(context, inside(context.x))
        if again:
            return True, f"{said}, a hair inside [0, 1]"
    return passed, found


def _alive(context: PreflightContext, x: Tensor) -> tuple[bool, str]:
    found, least = [], 1.0
    for name, g in context.gradients(x).items():
        g = g.flatten(1)
        alive = (g != 0).any(1) & g.isfinite().all(1)
        least = min(least, float(alive.float().mean()))
        pixels = 100 * float((g != 0).float().mean())
        found.append(f"{int(alive.sum())} of {len(g)} images on {name} ({pixels:.0f} % of the pixels)")
    return least >= context.rules.alive, f"finite and not zero for {', '.join(found)}"


def _accuracy(context: PreflightContext) -> Verdict:
    y, predicted = context.y.cpu().numpy(), context.z.argmax(1).cpu().numpy()
    right, chance = int((y == predicted).sum()), 1 / context.classes
    found = f"{right} of {len(y)} clean images right, {chance * len(y):.1f} by chance"
    if binomtest(right, len(y), chance, alternative="greater").pvalue < context.rules.level:
        return True, found
    half_way = binomtest(right, len(y), (1 + chance) / 2, alternative="less")
    if half_way.pvalue >= context.rules.level:
        return None, f"{found}: too few to distinguish it from chance"
    seen = np.zeros((context.classes, context.classes), dtype=int)
    np.add.at(seen, (y, predicted), 1)
    best = int(seen[linear_sum_assignment(seen, maximize=True)].sum())
    return False, f"{found}; {best} if the classes were in the best other order"


CHECKS: dict[str, tuple[Callable[[PreflightContext], Verdict], str]] = {  # check, and what to do if it is red
    "images": (_images, "give float images (n, c, h, w) in [0, 1]: divide by 255, normalise inside the network"),
    "forward": (_forward, "it fails on such images: it may need other channels, another size, batch or precision"),
    "output": (_output, "return one tensor (n, classes); wrap a network of several outputs in FirstOutput"),
    "precision": (_precision, "compute in float32: half precision blinds gradient attacks and ties predictions"),
    "autograd": (_inside, "an optimisation loop at inference needs an attack made for it (Croce et al. 2022)"),
    "classes": (_classes, "build the network with as many logits as the data set has classes, labelled from 0"),
    "logits": (
        _logits,
        "return logits, before softmax: saturated probabilities hide the gradient; remove it by "
        "net.softmax = torch.nn.Identity(), of a Sequential by net[:-1], in a forward by return z for z.softmax(1)",
    ),
    "finite": (_finite, "look for overflow, a division by zero, or 16-bit arithmetic"),
    "eval mode": (_mode, "call net.eval(), of a saved program before it is saved"),
    "determinism": (_repeated, "a network that draws at random needs aa_rand: AutoAttack on the mean of 20 gradients"),
    "batch": (_batch, "a prediction must depend on its image alone: use running batch-norm statistics"),
    "gradients": (
        _gradients,
        "rounding, detaching or saturation blinds gradient attacks: trust only black-box attacks",
    ),
    BORDERS: (borders, "clipping in the forward hides the gradient: remove it, since attacks keep images in [0, 1]"),
    "accuracy": (_accuracy, "check the order of the classes, the normalisation and the order of channels"),
    "normalisation": (normalisation, "normalise inside the network, as it was trained"),
}
NEEDED = {"forward", "output", "classes"}  # by all that follow
