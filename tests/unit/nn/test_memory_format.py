"""The probe of the memory format in which a network is attacked faster."""

import torch
from torch import Tensor, nn

from cure.nn import memory_format
from cure.nn.folding.folded_copy import chosen_layout, folded_copy


def test_the_probe_measures_once_and_takes_the_faster_layout(make_net, monkeypatch) -> None:
    measured: list[bool] = []

    def slow_unless_channels_last(net: nn.Module, x: Tensor) -> float:
        last = net.conv2.weight.stride(1) == 1
        measured.append(last)
        return 1.0 if last else 2.0

    x = torch.rand(4, 1, 6, 6, generator=torch.Generator().manual_seed(0))
    monkeypatch.setattr(memory_format, "_probed", {})
    monkeypatch.setattr(memory_format, "_fastest", slow_unless_channels_last)
    for _ in range(2):
        folded = folded_copy(make_net(dtype=torch.float32), x, "probe")
        assert folded.conv2.weight.stride(1) == 1
    assert sorted(measured) == [False, True]
    assert chosen_layout(make_net(dtype=torch.float32), x, "probe") == "channels_last"
    assert chosen_layout(make_net(dtype=torch.float32), x, "contiguous") == "contiguous"
    assert len(measured) == 2
