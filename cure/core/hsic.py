"""Linear CKA by the unbiased HSIC, averaged over mini-batches.

    HSIC_1(K, L) = <K~, L~> / (n (n - 3)),   K~ the U-centred Gram matrix of one batch of n
    CKA = E HSIC_1(K, L) / sqrt(E HSIC_1(K, K) E HSIC_1(L, L)),   E over batches

Song et al., JMLR 2012 (HSIC_1); Szekely and Rizzo 2014 (U-centring); Nguyen, Raghu, Kornblith, ICLR 2021 (batches).
"""

from cure.core.tensors import Tensor


def gram(features: Tensor) -> Tensor:
    """(n, n), U-centred: X X^T without its diagonal, every row and column summing to zero, in double precision.

    U-centring removes what a constant shift of the features adds; they are centred first for precision alone.
    """
    x = features.flatten(1)
    x = x - x.mean(dim=0)
    n, k = len(x), (x @ x.T).double().fill_diagonal_(0)
    total = k.sum() / ((n - 1) * (n - 2))
    rows = k.sum(dim=0) / (n - 2)
    return (k - rows[:, None] - rows[None, :] + total).fill_diagonal_(0)


def hsic(a: Tensor, b: Tensor) -> Tensor:
    """HSIC_1 of every pair of (p, n, n) and (q, n, n) U-centred Gram matrices: (p, q)."""
    n = a.shape[-1]
    return a.flatten(1) @ b.flatten(1).T / (n * (n - 3))


def cka(cross: Tensor, a: Tensor, b: Tensor) -> Tensor:
    """(p, q) from the mean HSIC_1 across (p, q) and of each with itself, (p) and (q). It may fall outside [0, 1]."""
    return cross / (a[:, None] * b[None, :]).sqrt()
