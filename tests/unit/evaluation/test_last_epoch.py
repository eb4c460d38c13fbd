"""The network of the last epoch beside the evaluated one."""

import pytest
import torch

from cure.data.loader import Split
from cure.errors import UserError
from cure.evaluation.attack_columns import attack_sequences, attacked, examples_of, result
from cure.evaluation.evaluated_run import EvaluatedRun
from cure.evaluation.last_epoch import LastEpoch
from cure.evaluation.statistics.results import AttackResult, LastEpochResult
from cure.settings.sections import AttackSuite, RunSettings, Threat
from cure.storage import checkpoint
from cure.storage.checkpoint import Description, build
from cure.storage.paths import Run

RUN = Run("digits", "small", "at", 0)
PGD = {"attack": "pgd", "steps": 2, "start": "uniform", "clip_start": True}
HOW = {
    "images": 12,
    "batch": 6,
    "seed": 0,
    "layout": "contiguous",
    "precision": "fp32",
    "subset": {},
    "table": ["pgd2"],
    "nrr": "pgd2",
}
SUITE = AttackSuite(**HOW, last=["pgd2"], columns={"pgd2": PGD, "pgd4": PGD | {"steps": 4}}, on_request={})
THREAT = Threat(eps=0.1, step=0.05)


def about(kind: str, epoch: int, digest: str = "0") -> Description:
    known = {"model": "small", "settings": {"width": 4}, "channels": 1, "classes": list("0123456789"), "seed": 0}
    known |= {"dataset": "digits", "data_digest": digest, "method": "at", "params": {}, "best_epoch": 1}
    return Description(kind=kind, epoch=epoch, validation={}, **known)


def network(seed: int) -> torch.nn.Module:
    torch.manual_seed(seed)
    return build("small", {"width": 4}, 1, 10).eval()


@pytest.fixture
def evaluated(tmp_path, monkeypatch) -> EvaluatedRun:
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    split = Split(torch.randint(256, (12, 1, 8, 8), dtype=torch.uint8), torch.arange(12) % 10)
    run_settings = RunSettings.model_construct()
    return EvaluatedRun(about("network", 1), network(0), split, run_settings, torch.device("cpu"))


def trained(last_epoch: torch.nn.Module, epoch: int = 2, digest: str = "0") -> None:
    RUN.training_checkpoint.parent.mkdir(parents=True, exist_ok=True)
    checkpoint.save(RUN.training_checkpoint, {"last": last_epoch.state_dict()}, about("trajectory", epoch, digest))


def measured(net: torch.nn.Module, evaluated: EvaluatedRun) -> AttackResult:
    data = examples_of(evaluated.split)
    return result(
        attacked(net, data, attack_sequences(SUITE, THREAT, 10), SUITE, lambda _: None), data, SUITE, THREAT.eps
    )


def test_its_outcomes_are_those_of_the_network_itself(evaluated: EvaluatedRun) -> None:
    other = network(1)
    trained(other)
    last_epoch, ticks = LastEpoch(RUN, evaluated, SUITE, THREAT), []
    found = last_epoch.outcomes(measured(evaluated.net, evaluated), ticks.append, {})
    wanted = measured(other, evaluated).outcomes
    assert found == LastEpochResult(epoch=2, outcomes={name: wanted[name] for name in ("clean", "pgd2")})
    assert len(ticks) == last_epoch.work_items == 3


def test_where_the_last_epoch_is_evaluated_nothing_is_computed_twice(evaluated: EvaluatedRun) -> None:
    trained(network(1), epoch=1)
    last_epoch, best = LastEpoch(RUN, evaluated, SUITE, THREAT), measured(evaluated.net, evaluated)
    found = last_epoch.outcomes(best, lambda _: pytest.fail("a work item was computed"), {})
    assert found == LastEpochResult(epoch=1, outcomes={name: best.outcomes[name] for name in ("clean", "pgd2")})
    assert last_epoch.work_items == 0


def test_without_a_trajectory_or_with_one_of_another_form_there_is_none(evaluated: EvaluatedRun) -> None:
    best = measured(evaluated.net, evaluated)
    assert LastEpoch(RUN, evaluated, SUITE, THREAT).outcomes(best, print, {}) is None
    trained(torch.nn.Linear(2, 2))
    assert LastEpoch(RUN, evaluated, SUITE, THREAT).outcomes(best, print, {}) is None


def test_a_suite_that_asks_for_none_looks_at_no_file(evaluated: EvaluatedRun) -> None:
    RUN.training_checkpoint.parent.mkdir(parents=True)
    RUN.training_checkpoint.write_bytes(b"no weights")
    last_epoch = LastEpoch(RUN, evaluated, SUITE.model_copy(update={"last": []}), THREAT)
    assert last_epoch.outcomes(measured(evaluated.net, evaluated), print, {}) is None


def test_a_trajectory_of_other_data_is_refused(evaluated: EvaluatedRun) -> None:
    trained(network(1), digest="1")
    with pytest.raises(UserError, match=r"not the file that .* was trained with"):
        LastEpoch(RUN, evaluated, SUITE, THREAT)
