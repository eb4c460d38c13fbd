"""What precisions change on the quickstart's networks: robust flags of attacks, and where a step lands."""

import pytest
import torch

from cure import catalogue
from cure.adversarial.pgd import ce_objective, kl_objective
from cure.core.method import Batch, Networks
from cure.core.noise import Stream
from cure.data import prepared
from cure.settings.base import Search
from cure.settings.params import read
from cure.settings.sections import Schedule
from cure.storage import checkpoint
from cure.storage.paths import Run
from tests.support.method_harness import QUICKSTART, shipped
from tests.support.precision import agreement, autoattack_agreement, distances
from tests.support.race import DEVICE, clock

pytestmark = pytest.mark.benchmark(timer=clock)
FOLDER = QUICKSTART.parent
SEARCH = Search(eps=0.15, step=0.0375, steps=10, start="uniform", clip_start=True)
BATCH = 64
FEW = 60


@pytest.mark.parametrize("method", ["at", "trades", "mart"])
def test_bfloat16(benchmark, method: str) -> None:
    run = Run("digits", "small", method, 0)
    if not (FOLDER / run.weights).exists():
        pytest.skip("no networks; `dvc --cd quickstart repro` trains them")
    about, states = checkpoint.load(FOLDER / run.weights)
    net = checkpoint.network(about, states[""], run.weights).to(DEVICE)
    test = prepared.load(FOLDER / "data/digits.safetensors", ("test",), DEVICE).splits["test"]
    (x, y, index) = next(test.batches(len(test)))
    found = {name: agreement(net, x, y, SEARCH, of) for name, of in (("CE", ce_objective), ("KL", kl_objective))}
    found["AutoAttack"] = autoattack_agreement(net, x[:FEW], y[:FEW], SEARCH.eps)
    entry, hyper = catalogue.entry("methods", method).METHOD, shipped(method)
    raw = read(QUICKSTART)["train"]
    schedule = Schedule(**{key: raw[key] for key in Schedule.model_fields})
    nets = Networks(net.requires_grad_(True), {}, {})
    nets.ready()
    batch = Batch(x[:BATCH], y[:BATCH], index[:BATCH], Stream(0, DEVICE))
    apart = benchmark.pedantic(lambda: distances(nets, entry, hyper, schedule, batch), rounds=1)
    device = torch.cuda.get_device_name() if DEVICE.type == "cuda" else "cpu"
    facts = {"table": "precision", "row": method, "network": "small", "device": device, "torch": torch.__version__}
    benchmark.extra_info |= facts | {"flags": found, "apart": apart, "images": len(y)}
