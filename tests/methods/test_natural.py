import copy

import torch
import torch.nn.functional as F

from cure.methods.natural import METHOD, Hyper
from tests.support.method_harness import MethodHarness, assert_close, differentiate


def test_the_gradient_is_that_of_the_mean_cross_entropy(net, batch, passes) -> None:
    before = copy.deepcopy(net)
    rig = MethodHarness(METHOD, Hyper(), net)
    passes.watch(student=net)
    means = rig.step(batch)
    assert passes.forwards == {("student", "train", True): 1}
    assert passes.backwards == {"weights": 1}
    wanted = F.cross_entropy(before(batch.x), batch.y)
    torch.testing.assert_close(means["natural"], wanted.detach())
    assert_close(rig.gradients(), differentiate(wanted, before))
