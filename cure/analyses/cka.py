"""Similarity of clean and adversarial representations inside one network: linear CKA between all pairs of layers.

    cka (clean layer, adversarial layer); layers are convolutions, batch norms and linear maps in their order

    HSIC_1(K, L) = <K~, L~> / (n (n - 3)),   K~ the U-centred Gram matrix of one batch of n
    CKA = E HSIC_1(K, L) / sqrt(E HSIC_1(K, K) E HSIC_1(L, L)),   E over batches

Kornblith et al., ICML 2019 (CKA); Song et al., JMLR 2012 (HSIC_1); Szekely and Rizzo 2014 (U-centring); Nguyen, Raghu,
Kornblith, ICLR 2021 (batches). Gowda et al., ICLR 2024, Fig. 3.
"""

from typing import Annotated

import torch
from pydantic import Field
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from cure.core.analysis import Analysis, AnalysisResult, Subject, every
from cure.core.tensors import Images, Tensor
from cure.nn.activations import tapping
from cure.settings.base import Settings


def gram(features: Tensor) -> Tensor:
    """Return (n, n): X X^T U-centred, without its diagonal, every row and column summing to zero, in double precision.

    U-centring removes the effect of a constant shift of the features. They are centred first for precision alone.
    """
    x = features.flatten(1)
    x = x - x.mean(dim=0)
    n, k = len(x), (x @ x.T).double().fill_diagonal_(0)
    total = k.sum() / ((n - 1) * (n - 2))
    rows = k.sum(dim=0) / (n - 2)
    return (k - rows[:, None] - rows[None, :] + total).fill_diagonal_(0)


def hsic(a: Tensor, b: Tensor) -> Tensor:
    """Return (p, q): HSIC_1 of every pair of (p, n, n) and (q, n, n) U-centred Gram matrices."""
    n = a.shape[-1]
    return a.flatten(1) @ b.flatten(1).T / (n * (n - 3))


def cka(cross: Tensor, a: Tensor, b: Tensor) -> Tensor:
    """Return (p, q) from the mean HSIC_1 of the pairs (p, q) and of each with itself, (p), (q). It may leave [0, 1]."""
    return cross / (a[:, None] * b[None, :]).sqrt()


class Hyper(Settings):
    """Settings: images in a batch; the paper has 1024."""

    batch: Annotated[int, Field(ge=4)]  # the unbiased estimator needs four


def layers(net: nn.Module) -> list[str]:
    """Return the names of the modules that are compared."""
    kinds = nn.Conv2d, nn.Linear, _BatchNorm
    return [name for name, module in net.named_modules() if isinstance(module, kinds)]


def grams(net: nn.Module, x: Images, names: list[str]) -> Tensor:
    """Return the Gram matrix of every layer, (layers, n, n)."""
    with torch.no_grad(), tapping(net, names, gram) as found:
        net(x)
    return torch.stack([found[name] for name in names])


def measure(subject: Subject, hyper: Hyper) -> AnalysisResult:
    """Compute the mean over batches of equal size; images that do not fill one are left out."""
    names, sums = layers(subject.net), list[tuple[Tensor, Tensor, Tensor]]()
    for x, x_adv, _ in subject.pairs(hyper.batch):
        if sums and len(x) < hyper.batch:
            break
        clean, adv = (grams(subject.net, images, names) for images in (x, x_adv))
        sums.append((hsic(clean, adv), hsic(clean, clean).diagonal(), hsic(adv, adv).diagonal()))
    cross, a, b = (torch.stack(part).mean(dim=0) for part in zip(*sums, strict=True))
    return AnalysisResult({"cka": cka(cross, a, b)}, {"clean_layer": names, "adversarial_layer": names})


ANALYSIS = Analysis(measure, every)
