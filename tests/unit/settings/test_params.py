"""params.yaml: what the shipped files hold, the four rules of cure/settings/params.py, and how mistakes are told."""

import copy
import json
import string
from fractions import Fraction

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from cure import catalogue
from cure.errors import UserError
from cure.settings.base import Number, Search, Settings, number
from cure.settings.check import check, load
from cure.settings.layers import Freezing
from cure.settings.params import Params, for_run, revise_key, update_key, with_threat_defaults
from cure.settings.sections import Fit, RunSettings, Threat, Train
from tests.support.project import ROOT
from tests.support.settings import GONE, PAPER, QUICKSTART, SCALES, at, changed, places, view


class Pair(Settings):
    left: Number
    right: Number


class Word(Settings):
    pair: Pair
    word: str


def of_method(raw, key, model="small"):
    """Settings and schedule of a method, as its stage reads them."""
    name = key.split(".")[1]
    method = catalogue.entry("methods", name).METHOD
    kind = {update_key(name, method): method.hyper, revise_key(name, method): method.revise or method.hyper}[key]
    return Params(raw, [key, "train", "threat", "alpha"], "digits", model).method(key, kind)


# ---- the shipped files


@pytest.mark.parametrize("scale", SCALES)
def test_the_shipped_file_is_valid(scale):
    assert check(SCALES[scale]) == []


PRESETS = [
    (scale, ".".join(place[:-2]), place[-1])
    for scale, raw in SCALES.items()
    for place in places(raw)
    if place[-2:-1] == ("presets",)
]


@pytest.mark.parametrize(("scale", "section", "name"), PRESETS)
def test_every_shipped_preset_is_valid(scale, section, name):
    assert check(changed(SCALES[scale], f"{section}.preset", name)) == []


def test_the_papers_threat_and_weight_decay_are_exact():
    threat, train = view(PAPER, "threat").get("threat", Threat), view(PAPER, "train", "threat").get("train", Train)
    assert (threat.eps, threat.step, train.weight_decay) == (8 / 255, 2 / 255, 0.0005)


def test_the_papers_attacks_are_the_conventions_of_the_field():
    columns = PAPER["attack"]["columns"]
    ball = {"eps": 8 / 255, "step": 2 / 255, "start": "uniform", "clip_start": True}
    wanted = {f"{kind}{steps}": ball | {"steps": steps} for kind in ("pgd", "cw") for steps in (20, 100)}
    wanted["pgd20_trades"] = ball | {"eps": 0.031, "step": 0.003, "steps": 20, "clip_start": False}
    wanted["pgd20_cure"] = ball | {"step": 0.003, "steps": 20, "clip_start": False}
    wanted["pgd10_rift"] = ball | {"step": 2 / 225, "steps": 10}  # as its release has it
    wanted["fgsm"] = ball | {"step": 1, "steps": 1, "start": "zero"}  # one step to the ball's corner, whatever eps is
    threat = view(PAPER, "threat").get("threat", Threat).model_dump()
    for name, how in wanted.items():
        entry, own = columns[name]["attack"], {key: value for key, value in columns[name].items() if key != "attack"}
        kind = catalogue.hyper("attacks", entry)
        assert kind(**with_threat_defaults(kind, own, threat)) == kind(**how)


@pytest.mark.parametrize("scale", SCALES)
def test_autoattack_is_the_published_one_at_either_scale(scale):
    section = SCALES[scale]["attack"]["columns"]["aa"]
    entry, own = catalogue.entry("attacks", section["attack"]), {k: v for k, v in section.items() if k != "attack"}
    assert entry.attack_sequence(entry.Hyper(eps=8 / 255, **own), 10, 0).label == "standard"


# ---- numbers


@pytest.mark.parametrize(
    ("written", "meant"),
    [("8/255", 8 / 255), ("5e-4", 0.0005), (" 8 / 255 ", 8 / 255), ("0.1", 0.1), (3, 3.0), ("-1/3", -1 / 3)],
)
def test_a_number_is_read_exactly(written, meant):
    found = number(written)
    assert (found, type(found)) == (meant, float)


@given(st.integers(-(10**6), 10**6), st.integers(1, 10**6))
def test_a_fraction_is_the_nearest_float(above, below):
    assert number(f"{above}/{below}") == float(Fraction(above, below))


@pytest.mark.parametrize("written", ["8/0", "abc", "", "8//255", "nan", "inf", "1e999", "1/1e-999", 10**400])
def test_what_is_no_number_is_refused_with_its_place(written):
    problems = check(changed(QUICKSTART, "train.lr", written))
    assert any(line.startswith("train.lr: not a") and repr(written) in line for line in problems)


@pytest.mark.parametrize("written", [True, None, [1], {"value": 1}])
def test_another_type_is_no_number(written):
    assert f"pretrain.lr: Input should be a valid number; found {written!r}" in check(
        changed(QUICKSTART, "pretrain.lr", written)
    )


# ---- rule 1: presets


def with_presets(chosen, **presets):
    return {"s": {"preset": chosen, "word": "plain", "pair": {"left": 1, "right": 2}, "presets": presets}}


@pytest.mark.parametrize(
    ("chosen", "found"),
    [
        ("none", Word(word="plain", pair=Pair(left=1, right=2))),
        ("loud", Word(word="LOUD", pair=Pair(left=1, right=2))),
        ("half", Word(word="plain", pair=Pair(left=1, right=9))),
    ],
)
def test_a_preset_is_laid_over_its_section(chosen, found):
    raw = with_presets(chosen, none={}, loud={"word": "LOUD"}, half={"pair": {"right": 9}})
    assert view(raw, "s").get("s", Word) == found


def test_an_empty_preset_changes_nothing():
    assert view(with_presets("blank", blank=None), "s").get("s", Word).word == "plain"


def test_an_unknown_preset_is_refused_with_the_nearest_name():
    with pytest.raises(UserError, match=r"^s\.preset: no preset 'lout', did you mean loud\?$"):
        view(with_presets("lout", loud={}), "s").get("s", Word)


def test_presets_without_a_choice_are_refused_with_the_known_names():
    with pytest.raises(UserError, match=r"^s\.preset: .*known: half, loud$"):
        view(changed(with_presets("", loud={}, half={}), "s.preset", GONE), "s").get("s", Word)


def test_a_preset_reaches_into_a_methods_attack_and_keeps_the_rest_of_it():
    plain, _ = of_method(changed(QUICKSTART, "methods.at.preset", "eval_attack"), "methods.at")
    rice, _ = of_method(changed(QUICKSTART, "methods.at.preset", "rice"), "methods.at")
    assert (plain.attack.bn, plain.forward_clean) == ("eval", False)
    assert (rice.attack, rice.forward_clean) == (plain.attack.model_copy(update={"bn": "train"}), True)


# ---- rule 2: values by data set or model


@pytest.mark.parametrize(
    ("value", "found"),
    [
        ({"small": 1, "resnet18": 2}, 1),
        ({"digits": 1, "svhn": 2}, 1),
        ({"resnet18": 2, "default": 3}, 3),
        ({"small": 1, "default": 3}, 1),
        ({"svhn": {"small": 1}, "digits": {"small": 2, "default": 3}}, 2),
        ({"a": {"b": {"small": 1}}, "c": 2}, {"a": {"b": 1}, "c": 2}),
        ({"small": 1, "width": 2}, {"small": 1, "width": 2}),  # `width` is no place, so this is a section
        ({"default": 1}, {"default": 1}),  # so is a mapping that names no place at all
        ({}, {}),
        ([{"small": 1}], [{"small": 1}]),
    ],
)
def test_a_mapping_by_place_becomes_the_cells_own_value(value, found):
    assert for_run(value, "digits", "small", "s") == found


def test_a_value_for_both_the_data_set_and_the_model_is_ambiguous():
    with pytest.raises(UserError, match=r"^s\.lr: both digits and small have a value; remove one of them$"):
        for_run({"lr": {"digits": 1, "small": 2}}, "digits", "small", "s")


def test_a_mapping_without_the_cell_and_without_default_has_no_value():
    with pytest.raises(UserError, match=r"^s\.lr: no value for digits or small, and no default$"):
        for_run({"lr": {"svhn": 1, "resnet18": 2}}, "digits", "small", "s")


def test_the_paper_gives_each_model_its_own_alpha_p_and_gamma():
    key = "methods.cure.update"
    found = {m: of_method(PAPER, key, m)[0] for m in ("resnet18", "preact_resnet18", "wrn_34_10")}
    assert {m: (h.alpha, h.p, h.gamma) for m, h in found.items()} == {
        "resnet18": (0.1, 30, 1),
        "preact_resnet18": (0.2, 20, 1),
        "wrn_34_10": (0.3, 50, 0.5),
    }


BY_PLACE = {
    "alpha": lambda raw: of_method(raw, "methods.cure.update")[0].alpha,
    "methods.trades.beta": lambda raw: of_method(raw, "methods.trades")[0].beta,
    "methods.trades.attack.eps": lambda raw: of_method(raw, "methods.trades")[0].attack.eps,
    "train.lr": lambda raw: of_method(raw, "methods.trades")[1].lr,
    "train.validate_attack.step": lambda raw: of_method(raw, "methods.trades")[1].validate_attack.step,
    "pretrain.lr": lambda raw: view(raw, "pretrain", "threat").get("pretrain", Fit).lr,
    "threat.eps": lambda raw: of_method(raw, "methods.trades")[0].attack.eps,
}


@pytest.mark.parametrize(
    "value", [{"small": 0.5, "small_resnet": 0.6}, {"digits": 0.5, "svhn": 0.6}, {"svhn": 0.6, "default": 0.5}]
)
@pytest.mark.parametrize("where", BY_PLACE)
def test_any_value_of_a_cell_may_depend_on_its_place(where, value):
    raw = changed(QUICKSTART, where, value)
    assert check(raw) == []
    assert BY_PLACE[where](raw) == 0.5


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ({"svhn": 0.5}, "no value for digits or small, and no default"),
        ({"digits": 0.5, "small": 0.6}, "both digits and small have a value; remove one of them"),
    ],
)
@pytest.mark.parametrize("where", ["alpha", "methods.trades.beta", "train.lr"])
def test_check_finds_a_cell_that_a_mapping_leaves_without_its_one_value(where, value, said):
    assert f"{where}: {said}" in check(changed(QUICKSTART, where, value))


# ---- rule 3: the threat model


THREAT = {"threat": {"eps": 0.25, "step": 0.125}}
WEAK = {"steps": 1, "start": "zero", "clip_start": True}


class Nested(Settings):
    attack: Search
    pair: Pair


@pytest.mark.parametrize(
    ("own", "eps", "step"), [({}, 0.25, 0.125), ({"eps": 0.5}, 0.5, 0.125), ({"step": "1/8", "eps": 1}, 1, 0.125)]
)
def test_the_threat_lies_under_every_attack_and_the_attacks_own_values_win(own, eps, step):
    raw = THREAT | {"s": {"attack": WEAK | own, "pair": {"left": 1, "right": 2}}}
    found = view(raw, "s", "threat").get("s", Nested)
    assert (found.attack.eps, found.attack.step, found.pair) == (eps, step, Pair(left=1, right=2))


def test_a_section_that_is_an_attack_itself_is_armed_too():
    assert with_threat_defaults(Search, WEAK, THREAT["threat"]) == WEAK | THREAT["threat"]


def test_the_threat_reaches_training_validation_and_pretraining():
    raw = QUICKSTART | THREAT
    (hyper, train), pretrain = of_method(raw, "methods.trades"), view(raw, "pretrain", "threat").get("pretrain", Fit)
    found = [hyper.attack, train.validate_attack, pretrain.validate_attack]
    assert [(a.eps, a.step) for a in found] == [(0.25, 0.125)] * 3


def test_a_stage_that_does_not_declare_the_threat_does_not_get_it():
    with pytest.raises(UserError, match=r"^train\.validate_attack\.eps: missing\n"):
        view(QUICKSTART, "train").get("train", Train)


# ---- rule 4: a method's own schedule


OWN = {"epochs": 7, "drops": {5: 0.5}}


def test_under_paper_a_methods_train_is_laid_over_the_common_one():
    raw = changed(changed(QUICKSTART, "train.protocol", "paper"), "methods.trades.train", OWN)
    common = of_method(raw, "methods.at")[1]
    assert of_method(raw, "methods.trades")[1] == common.model_copy(update=OWN)


def test_under_matched_a_methods_train_is_left_out():
    raw = changed(changed(QUICKSTART, "train.protocol", "matched"), "methods.trades.train", OWN)
    assert of_method(raw, "methods.trades")[1] == of_method(raw, "methods.at")[1]


def test_the_protocol_leaves_the_layer_wise_study_its_schedule():
    """It compares blocks of one network and no methods; its numbers must not be written in vain."""
    raw = changed(changed(QUICKSTART, "train.protocol", "matched"), "layers.update.train", OWN)
    view = Params(raw, ["layers.update", "train", "threat"], "digits", "small")
    assert view.method("layers.update", Freezing)[1] == view.get("train", Train).model_copy(update=OWN)
    assert "layers.update.matched: unknown key" in " ".join(check(changed(raw, "layers.update.matched", {})))


def test_under_matched_a_method_that_is_a_weight_average_stays_one():
    raw = changed(PAPER, "train.protocol", "matched")
    common = Params(raw, ["train", "threat"], "digits", "resnet18").get("train", Train)
    average = {"average": 0.995, "select": "average"}
    assert of_method(raw, "methods.at_ema", "resnet18")[1] == common.model_copy(update=average)


TUNED = {"lr": 0.05, "weight_decay": "1e-3"}


@pytest.mark.parametrize("key", ["methods.trades", "methods.arat.update", "methods.cure.update"])
def test_under_matched_a_method_may_have_a_rate_and_a_decay_of_its_own_and_the_rest_is_common(key):
    raw = changed(changed(QUICKSTART, "train.protocol", "matched"), f"{key}.train", OWN)
    tuned = of_method(changed(raw, f"{key}.matched", {"train": TUNED}), key)[1]
    assert tuned == of_method(raw, "methods.at")[1].model_copy(update={"lr": 0.05, "weight_decay": 1e-3})


def test_what_is_tuned_under_matched_may_differ_by_model_and_changes_nothing_under_paper():
    raw = changed(PAPER, "methods.trades.matched.train", {"lr": {"resnet18": 0.05, "default": 0.02}})
    found = [
        of_method(changed(raw, "train.protocol", protocol), "methods.trades", model)[1].lr
        for protocol, model in (("matched", "resnet18"), ("matched", "wrn_34_10"), ("paper", "resnet18"))
    ]
    assert found == [0.05, 0.02, of_method(PAPER, "methods.trades", "resnet18")[1].lr]


@pytest.mark.reliability("wrong inputs")
@pytest.mark.parametrize("protocol", ["paper", "matched"])
@pytest.mark.parametrize("name", ["epochs", "drops", "batch", "momentum"])
def test_under_matched_a_method_brings_no_schedule_of_its_own(name, protocol):
    value = {"epochs": 7, "drops": {5: 0.5}, "batch": 32, "momentum": 0.5}[name]
    raw = changed(changed(PAPER, "train.protocol", protocol), f"methods.at_ema.matched.train.{name}", value)
    found = check(raw)
    told, other = (found, "") if protocol == "matched" else (found.unused, " (protocol matched)")
    said = "common to all methods; allowed here: average, lr, select, weight_decay"
    assert f"methods.at_ema.matched.train.{name}: {said}{other}" in told


@pytest.mark.reliability("wrong inputs")
def test_a_rate_of_its_own_under_matched_is_checked_like_the_common_one():
    raw = changed(changed(PAPER, "train.protocol", "matched"), "methods.trades.matched.train", {"lr": -1})
    assert "methods.trades.matched.train.lr: Input should be greater than 0; found -1" in check(raw)


@pytest.mark.parametrize("name", [name for name in PAPER["methods"] if name not in ("natural", "rift")])
@pytest.mark.parametrize("model", ["resnet18", "wrn_34_10"])
def test_under_the_matched_protocol_every_method_has_the_same_ball_and_schedule(name, model):
    method = catalogue.entry("methods", name).METHOD
    key = update_key(name, method)
    raw = changed(PAPER, "train.protocol", "matched")
    hyper, train = Params(raw, [key, "train", "threat", "alpha"], "cifar10", model).method(key, method.hyper)
    assert (hyper.attack.eps, hyper.attack.step) == (8 / 255, 2 / 255)
    assert hyper.attack.bn in ("eval", "batch")
    assert (train.epochs, train.lr, train.weight_decay) == (200, 0.1, 5e-4)


def test_what_a_method_matches_holds_under_that_protocol_alone():
    part, keys = catalogue.entry("methods", "part").METHOD, ["methods.part", "train", "threat"]
    views = {protocol: changed(PAPER, "train.protocol", protocol) for protocol in ("paper", "matched")}
    found = {name: Params(raw, keys, "cifar10", "resnet18").method(keys[0], part.hyper) for name, raw in views.items()}
    assert {name: hyper.begin for name, (hyper, _) in found.items()} == {"paper": 21, "matched": 51}


WRONG = {
    "methods.fat.tau": ({5: 1}, "needs a value from epoch 1 on"),
    "methods.part.eps_low": (0.5, "at most the full radius, 0.15"),
    "methods.part.begin": (99, "methods.part.begin: 99, but it is trained for 25 epochs"),
    "methods.cure_eff.update.begin": (99, "begin: 99, but it is trained for 40 epochs"),
    "methods.arat.update.taps": ([], "at least 1"),
    "methods.las_at.eps": ([], "at least 1"),
}


@pytest.mark.parametrize("key", WRONG)
def test_settings_that_would_make_another_method_of_it_are_told(key):
    value, said = WRONG[key]
    assert any(said in line for line in check(changed(QUICKSTART, key, value)))


@pytest.mark.parametrize("protocol", ["paper", "matched"])
def test_a_mistake_in_a_methods_train_is_found_under_either_protocol(protocol):
    raw = changed(changed(QUICKSTART, "train.protocol", protocol), "methods.trades.train", {"epochz": 7})
    found = check(raw)
    told, other = (found, "") if protocol == "paper" else (found.unused, " (protocol paper)")
    assert f"methods.trades.train.epochz: unknown key, did you mean epochs?{other}" in told


# ---- what a stage may read


UPDATED = [name for name in catalogue.names("methods") if catalogue.entry("methods", name).METHOD.updates]
PLACES = [(QUICKSTART, "digits", "small"), (PAPER, "cifar10", "wrn_34_10")]


@pytest.mark.parametrize(("raw", "dataset", "model"), PLACES, ids=["quickstart", "paper"])
@pytest.mark.parametrize("name", UPDATED)
def test_the_settings_that_a_file_carries_are_those_of_its_training(name, raw, dataset, model):
    method = catalogue.entry("methods", name).METHOD
    key = update_key(name, method)
    trained = Params(raw, [*method.hyper.top_level, "train", "threat", key], dataset, model)
    carried = json.loads(json.dumps(trained.as_text()))
    assert Params.recorded(carried, dataset, model).method(key, method.hyper) == trained.method(key, method.hyper)


def test_a_stage_cannot_read_what_it_does_not_declare():
    with pytest.raises(
        UserError, match=r"^run: this stage reads it but does not declare it under params: in dvc\.yaml$"
    ):
        view(QUICKSTART, "grid", "runs").get("run", RunSettings)


def test_declaring_an_entry_does_not_open_its_neighbours():
    with pytest.raises(UserError, match=r"^models\.resnet18: this stage reads it but does not declare it"):
        view(PAPER, "models.wrn_34_10").get("models.resnet18", catalogue.hyper("models", "resnet18"))


def test_a_declared_key_that_is_not_in_the_file_is_missing():
    with pytest.raises(UserError, match=r"^models\.resnet18: missing$"):
        view(QUICKSTART, "models.resnet18").get("models.resnet18", catalogue.hyper("models", "resnet18"))


def test_the_description_holds_the_declared_keys_as_written():
    assert view(PAPER, "threat", "alpha").as_text() == {"threat": PAPER["threat"], "alpha": PAPER["alpha"]}


def test_nothing_in_a_section_can_change_after_it_was_read():
    with pytest.raises(ValueError, match="frozen"):
        view(QUICKSTART, "threat").get("threat", Threat).eps = 1.0


# ---- alpha


def test_alpha_reaches_cure_from_the_top_of_the_file():
    assert of_method(QUICKSTART | {"alpha": "3/8"}, "methods.cure.update")[0].alpha == 0.375


def test_cure_cannot_read_an_undeclared_alpha():
    params = view(QUICKSTART, "methods.cure.update", "train", "threat")
    with pytest.raises(UserError, match=r"^alpha: this stage reads it but does not declare it"):
        params.method("methods.cure.update", catalogue.hyper("methods", "cure"))


def test_alpha_inside_cures_own_section_is_refused_rather_than_ignored():
    problems = check(changed(QUICKSTART, "methods.cure.update.alpha", 0.5))
    assert any(line.startswith("methods.cure.update.alpha: ") for line in problems)


def test_a_bad_alpha_is_told_under_the_name_it_has_in_the_file():
    assert check(QUICKSTART | {"alpha": 1.5}) == ["alpha: Input should be less than or equal to 1; found 1.5"]


# ---- how mistakes are told


def test_all_mistakes_are_told_at_once_each_with_its_place(tmp_path):
    text = (ROOT / "quickstart" / "params.yaml").read_text()
    for right, wrong in (
        ("\nthreat:", "\nthreatt:"),
        ("width: 16", "widht: 16"),
        ("trades:\n    beta: 6", "trades:\n    beta: many"),
        ("attack: cw", "attack: cww"),
        ("preset: eval_attack", "preset: evil_attack"),
        ("- brightness", "- brightnes"),
    ):
        assert text.count(right) == 1
        text = text.replace(right, wrong)
    path = tmp_path / "params.yaml"
    path.write_text(text)
    with pytest.raises(UserError) as refused:
        load(["run"], path=path)
    title, *lines = str(refused.value).split("\n  ")
    assert title == f"{path} has problems:"
    assert {
        "threat: missing section",
        "threatt: unknown section, did you mean threat?",
        "models.small.width: missing",
        "models.small.widht: unknown key, did you mean width?",
        "methods.trades.beta: not a number or a fraction such as 8/255; found 'many'",
        "attack.columns.cw20.attack: no attack 'cww', did you mean cw?",
        "methods.at.preset: no preset 'evil_attack', did you mean eval_attack?",
        "corrupt.corruptions: no entry 'brightnes', did you mean brightness?",
    } <= set(lines)


@pytest.mark.parametrize(
    ("where", "said"),
    [
        ("runn", "runn: unknown section, did you mean run?"),
        ("train.momentun", "train.momentun: unknown key, did you mean momentum?"),
        ("train.validate_attack.startt", "train.validate_attack.startt: unknown key, did you mean start?"),
        ("methods.trades.attack.startt", "methods.trades.attack.startt: unknown key, did you mean start?"),
        ("methods.cure.update.betta", "methods.cure.update.betta: unknown key, did you mean beta?"),
        ("methods.cure.updat", "methods.cure.updat: unknown key, did you mean update?"),
        ("methods.tradez", "methods.tradez: no such entry, did you mean trades?"),
        ("models.smal", "models.smal: no such entry, did you mean small?"),
        ("datasets.digitz", "datasets.digitz: no such entry, did you mean digits?"),
        ("datasets.digits.augment.cropp", "datasets.digits.augment.cropp: unknown key, did you mean crop?"),
        ("attack.columns.pgd20.startt", "attack.columns.pgd20.startt: unknown key, did you mean start?"),
    ],
)
def test_a_near_miss_is_answered_with_the_right_spelling(where, said):
    found = check(changed(QUICKSTART, where, {}))
    assert said in [*found, *found.unused]


def test_without_a_near_miss_the_known_keys_are_told():
    assert "threat.qqq: unknown key; known: eps, step" in check(changed(QUICKSTART, "threat.qqq", 1))


FREE = ("presets", "columns", "on_request", "subset", "drops", "blocks", "every")  # names inside them are users'
KEYS = [place for place in places(QUICKSTART) if place[-2:-1] == () or place[-2] not in FREE]


@settings(max_examples=150)
@given(st.sampled_from(KEYS), st.sampled_from(string.ascii_letters))
def test_any_misspelt_key_is_told_by_name(place, letter):
    *inside, old = place
    raw = copy.deepcopy(QUICKSTART)
    section = at(raw, inside)
    assume(f"{old}{letter}" not in section)
    section[f"{old}{letter}"] = section.pop(old)
    found = check(raw)
    told = [line.split(": ")[0].split(".") for line in [*found, *found.unused]]
    assert any({old, f"{old}{letter}"} & set(parts) for parts in told)


JUNK = [None, True, 3, "x", [], [3], [["x"]], [{"x": 1}], {}, {"x": 1}, {3: 1}]


@settings(max_examples=150)
@given(st.sampled_from(list(places(QUICKSTART))), st.sampled_from(JUNK))
def test_a_value_of_any_other_type_is_told_and_never_crashes_the_check(place, junk):
    *inside, key = place
    raw = copy.deepcopy(QUICKSTART)
    at(raw, inside)[key] = junk
    assert all(isinstance(line, str) for line in check(raw))
