"""Images and labels as people hold them."""

from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, Dataset, IterableDataset, TensorDataset

from cure.errors import UserError
from cure.evaluation.standalone.arrays import tensors

CPU = torch.device("cpu")
X = torch.rand(6, 3, 4, 5, generator=torch.Generator().manual_seed(0))
Y = torch.tensor([0, 1, 2, 2, 1, 0])


class Bytes(Dataset[Any]):
    """Pairs of an array of bytes and a Python number."""

    def __len__(self) -> int:
        return 2

    def __getitem__(self, i: int) -> Any:
        return np.full((3, 4, 5), 51 * i, dtype=np.uint8), i


class Stream(IterableDataset[Any]):
    """Pairs without a length."""

    def __iter__(self) -> Any:
        return iter(zip(X, Y, strict=True))


class Broken(Bytes):
    """A file that was cut."""

    def __getitem__(self, i: int) -> Any:
        raise OSError("truncated")


GIVEN = {
    "tensors": (X, Y),
    "arrays": (X.numpy(), Y.numpy()),
    "negative strides": (X.flip(1).numpy()[:, ::-1], Y.numpy()[::-1].copy()[::-1]),
    "negative strides of one": (X[:, :1].numpy()[:, ::-1], Y),
    "channels last": (X.permute(0, 2, 3, 1).contiguous().permute(0, 3, 1, 2), Y),
    "double": (X.double(), Y.double()),
    "a list of tensors": (list(X), list(Y)),
    "a list of arrays": ([x.numpy() for x in X], Y.tolist()),
    "with a gradient": (X.clone().requires_grad_(), Y),
    "a data set": (TensorDataset(X, Y), None),
    "a loader": (DataLoader(TensorDataset(X, Y), batch_size=4), None),
    "a loader of a stream": (DataLoader(Stream(), batch_size=4), None),
    "bytes of Python": (DataLoader(Bytes(), batch_size=2), None),
}


@pytest.mark.parametrize("form", GIVEN)
def test_every_form_gives_the_same_tensors_in_one_memory_order(form: str) -> None:
    x, y = tensors(*GIVEN[form], CPU)
    wanted = X[:, :1] if "of one" in form else X
    if "bytes" in form:
        wanted = torch.stack([torch.zeros(3, 4, 5), torch.full((3, 4, 5), 0.2)])
    assert torch.equal(x, wanted)
    assert y.tolist() == Y.tolist()[: len(y)]
    assert (x.dtype, y.dtype, x.is_contiguous(), x.requires_grad) == (torch.float32, torch.int64, True, False)


def test_the_callers_images_are_copied() -> None:
    x, _ = tensors(X, Y, CPU)
    assert x.data_ptr() != X.data_ptr()


REFUSED = {
    "no labels": (X, None, "labels: missing; only a DataLoader or a Dataset has its own, not a Tensor"),
    "labels twice": (TensorDataset(X, Y), Y, "labels: a TensorDataset has its own; leave labels out"),
    "no whole labels": (X, Y + 0.7, "labels: 0.7 is not a whole number"),
    "labels that are no numbers": (X, Y * float("nan"), "labels: nan is not a whole number"),
    "labels of words": (X, list("abcdef"), "labels: cannot be read as numbers, from str"),
    "labels beyond 64 bits": (X, [2**70] * 6, "labels: cannot be read as numbers, from int"),
    "flags for labels": (X, Y > 0, "labels are torch.bool"),
    "complex labels": (X, Y.to(torch.complex64), "labels are torch.complex64"),
    "one-hot labels": (X, torch.eye(6), "images are (6, 3, 4, 5) and labels (6, 6); needed"),
    "images of two sizes": ([X[0], X[1, :, :2]], Y[:2], "images: cannot be read as numbers, from Tensor"),
    "objects": (np.array([object()] * 6), Y, "images: cannot be read as numbers, from ndarray"),
    "nothing": (None, Y, "images: cannot be read as numbers, from NoneType"),
    "complex images": (X.to(torch.complex64), Y, "images are torch.complex64"),
    "triples": (TensorDataset(X, Y, Y), None, "the data set gives a tuple, not pairs of an image and a label"),
    "sparse images": (X.to_sparse(), Y, "images are a sparse tensor"),
    "images on no device": (X.to("meta"), Y, "images are a meta tensor"),
    "labels without end": (X, Y / 0.0, "labels go up to nan"),
    "labels beyond any class": (X, Y * 1e30, "labels go up to 2e+30"),
    "an image that cannot be read": (Broken(), None, "image 0 of the Broken: OSError: truncated"),
    "a stream": (Stream(), None, "a Stream without a length; give a DataLoader of it"),
}


@pytest.mark.reliability("wrong inputs")
@pytest.mark.parametrize("case", REFUSED)
def test_anything_else_is_refused(case: str) -> None:
    images, labels, said = REFUSED[case]
    with pytest.raises(UserError) as refused:
        tensors(images, labels, CPU)
    assert said in str(refused.value)
