"""Losses from logits (n, k) or representations (n, c) to one value per image (n); only the training engine averages."""

import torch.nn.functional as F

from cure.core.tensors import Labels, Logits, PerExample, Tensor


def cross_entropy(z: Logits, y: Labels) -> PerExample:
    """Return -log softmax(z)_y."""
    return F.cross_entropy(z, y, reduction="none")


def smoothed_cross_entropy(z: Logits, y: Labels, label: float) -> PerExample:
    """Return -sum_k t_k log softmax(z)_k, t = `label` at y, else (1 - label)/(k - 1). Szegedy et al. 2016."""
    log_p = F.log_softmax(z, dim=1)
    true = log_p.gather(1, y[:, None])[:, 0]
    return -label * true - (1 - label) / (z.shape[1] - 1) * (log_p.sum(dim=1) - true)


def kl(p: Logits, q: Logits) -> PerExample:
    """Return KL(softmax(p) || softmax(q)) in nats, summed over classes; gradients flow into both arguments."""
    log_p, log_q = F.log_softmax(p, dim=1), F.log_softmax(q, dim=1)
    return (log_p.exp() * (log_p - log_q)).sum(dim=1)


def distillation(teacher: Logits, student: Logits, temperature: float) -> PerExample:
    """Return T^2 KL(softmax(teacher / T) || softmax(student / T)). Hinton et al. 2015."""
    return temperature**2 * kl(teacher / temperature, student / temperature)


def boosted_cross_entropy(z: Logits, y: Labels) -> PerExample:
    """Return -log q_y - log(1.0001 - max_{k != y} q_k + 1e-12), q = softmax(z). Wang et al., ICLR 2020 (MART)."""
    wrong = z.softmax(dim=1).scatter(1, y[:, None], 0.0).amax(dim=1)
    return cross_entropy(z, y) - (1.0001 - wrong + 1e-12).log()


def cosine_distance(z: Tensor, towards: Tensor) -> PerExample:
    """Return 1 - cos(z, towards), (n, c) each, in the second's dtype; gradients flow into both arguments."""
    return 1 - F.cosine_similarity(z.to(towards.dtype), towards, dim=1)


def margin(z: Logits, y: Labels) -> PerExample:
    """Return max_{k != y} z_k - z_y, the loss of the attack that tables of L-inf results call C&W.

    Carlini & Wagner 2017, f_6 without the confidence, as in the PGD form of Madry et al. 2018.
    """
    true = z.gather(1, y[:, None])
    return z.scatter(1, y[:, None], float("-inf")).amax(dim=1) - true[:, 0]
