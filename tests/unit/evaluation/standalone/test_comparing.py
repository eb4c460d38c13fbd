"""`cure compare` takes the images that two results share."""

import json

import numpy as np
import pytest
from safetensors.numpy import save_file

from cure.errors import UserError
from cure.evaluation.standalone.comparing import evaluated, on_shared_images
from tests.support.command_line import call

CLEAN = "1101110111"
PGD = "0101010011"


def result(clean=CLEAN, pgd=PGD, index=None, **facts):
    column = {"label": "", "package": "", "broken_by": {}}
    found = {"images": len(clean), "eps": 0.1, "columns": {"pgd20": column}, "problems": [], "seed": 0, "batch": 3}
    found["outcomes"] = {"clean": clean, "pgd20": pgd, "worst": pgd}
    return facts | {"result": found} | ({} if index is None else {"index": index})


def written(path, document):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(document))
    return path


def of_the_stage(project, document, test_images=None):
    """A result of the stage attack, and the data file of its pipeline with so many test images."""
    if test_images:
        (project / "data").mkdir(parents=True)
        save_file({"test/labels": np.zeros(test_images, dtype=np.int64)}, project / "data/digits.safetensors")
    return written(project / "results/digits/small/at-s0-attack.json", document["result"])


def test_the_shared_images_are_compared_and_counted(tmp_path):
    every = written(tmp_path / "a.json", result(index=list(range(10)), subject="A"))
    some = written(tmp_path / "b.json", result("110", "010", index=[2, 5, 9], subject="B"))
    a, b = on_shared_images(evaluated(every), evaluated(some))
    assert (a.images, b.images) == ([2, 5, 9], [2, 5, 9])
    assert a.outcomes == {"clean": CLEAN[2] + CLEAN[5] + CLEAN[9], "pgd20": PGD[2] + PGD[5] + PGD[9], "worst": "011"}
    assert b.outcomes["pgd20"] == "010"
    code, shown, said = call("compare", every, some, "--json")
    assert (code, said) == (0, "on the 3 test images that both share: A is of 10 test images, B of 3\n")
    counts = {one["column"]: one["counts"] for one in json.loads(shown)}
    assert counts["pgd20"] == {"both": 1, "first": 1, "second": 0, "neither": 1}


def test_another_order_is_no_other_image(tmp_path):
    one = written(tmp_path / "a.json", result(index=list(range(10)), subject="A"))
    other = written(tmp_path / "b.json", result(CLEAN[::-1], PGD[::-1], index=list(range(10))[::-1], subject="B"))
    assert all(
        one["p"] == 1 and not one["counts"]["first"] for one in json.loads(call("compare", one, other, "--json")[1])
    )


def test_the_same_images_are_compared_without_a_word(tmp_path):
    one, other = (written(tmp_path / name, result(index=list(range(10)), subject=name)) for name in ("a", "b"))
    assert call("compare", one, other, "--json")[2] == ""


def test_a_result_of_the_stage_has_evenly_spaced_images_of_its_data_file(tmp_path):
    stage = of_the_stage(tmp_path / "project", result(), test_images=20)
    own = written(tmp_path / "b.json", result(index=[0, 3, 4, 8, 9, 10, 12, 16, 17, 18], subject="B"))
    a, b = on_shared_images(evaluated(stage), evaluated(own))
    assert a.images == b.images == [0, 4, 8, 10, 12, 16, 18]  # of 0, 2, 4, ..., 18
    assert a.outcomes["clean"] == "".join(CLEAN[place // 2] for place in a.images)


def test_two_results_of_the_stage_need_no_data_file(tmp_path):
    one, other = (of_the_stage(tmp_path / name, result()) for name in ("one", "other"))
    assert call("compare", one, other, "--json")[0] == 0


@pytest.mark.reliability("wrong inputs")
@pytest.mark.parametrize("data", [b"", b"torn", None], ids=["empty", "torn", "absent"])
def test_a_result_that_does_not_say_of_which_images_it_is_is_not_guessed(tmp_path, data):
    stage = of_the_stage(tmp_path / "project", result())
    if data is not None:
        (tmp_path / "project/data").mkdir()
        (tmp_path / "project/data/digits.safetensors").write_bytes(data)
    own = written(tmp_path / "b.json", result("110", "010", index=[2, 5, 9], subject="B"))
    with pytest.raises(UserError, match=r"B of 3, and .*at-s0-attack.json does not record which ones; `dvc pull` its"):
        on_shared_images(evaluated(stage), evaluated(own))


@pytest.mark.reliability("wrong inputs")
@pytest.mark.parametrize(
    ("index", "said"),
    [([12, 15, 19], "A is of 10 test images, B of 3, none of them the same"), ([1, 2], "not a result of `cure eval`")],
)
def test_results_without_an_image_in_common_are_refused(tmp_path, index, said):
    every = written(tmp_path / "a.json", result(index=list(range(10)), subject="A"))
    some = written(tmp_path / "b.json", result("110", "010", index=index, subject="B"))
    code, _, refused = call("compare", every, some)
    assert (code, said in refused) == (2, True)


def test_of_two_results_with_one_name_each_is_called_by_its_file(tmp_path):
    every = written(tmp_path / "a.json", result(index=list(range(10)), subject="net"))
    some = written(tmp_path / "b.json", result("110", "010", index=[2, 5, 9], subject="net"))
    assert f"{every} is of 10 test images, {some} of 3" in call("compare", every, some)[2]


def test_a_folder_of_one_network_stands_for_it_and_of_several_one_is_named(tmp_path):
    for network in ("a/net", "b/one"):
        written(tmp_path / network / "results.json", result(index=list(range(10)), subject=network))
    assert call("compare", tmp_path / "a", tmp_path / "b")[0] == 0
    written(tmp_path / "b/two/results.json", result(index=list(range(10))))
    code, _, said = call("compare", tmp_path / "a", tmp_path / "b")
    assert code == 2
    assert f"{tmp_path / 'b'}: holds several networks, name one: {tmp_path / 'b/one'}, {tmp_path / 'b/two'}" in said
    (tmp_path / "c").mkdir()
    assert "c/results.json: not found; name a folder that" in call("compare", tmp_path / "a", tmp_path / "c")[2]
