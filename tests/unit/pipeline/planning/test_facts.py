"""Facts about a run before anything is downloaded or trained."""

from pathlib import Path

import pytest

from cure.data.prepare import prepare
from cure.datasets.digits import Hyper
from cure.pipeline.planning.facts import Facts
from tests.support.settings import QUICKSTART, changed


@pytest.mark.parametrize(("named", "expected"), [(240, 240), (None, 125)], ids=["240", "a tenth of 1258"])
@pytest.mark.parametrize("is_prepared", [False, True])
def test_the_validation_split_is_known_before_and_after_it_is_prepared(tmp_path: Path, named, expected, is_prepared):
    if is_prepared:
        prepare("digits", Hyper(validation=named), tmp_path / "data/digits.safetensors")
    facts = Facts(tmp_path, changed(QUICKSTART, "datasets.digits.validation", named))
    assert facts.validation("digits") == expected
    assert facts.extent("digits").train == 1258 - expected
