"""`--claim` texts: what they name, and how they are refused."""

import pytest

from cure.errors import UserError
from cure.published import claims, find

PUBLISHED = claims.load(claims.path())


def found(text):
    return {(one.kind, one.paper, one.table, one.dataset) for one in find.claims(text, PUBLISHED)}


def test_a_method_and_a_network_name_every_row_about_them_claims_and_reproductions():
    rows = find.claims("TRADES, ResNet-18", PUBLISHED)
    assert {(one.method, one.model) for one in rows} == {("trades", "resnet18")}
    assert {"cure", "rift", "arat", "lethesec", "mair"} == {one.paper for one in rows}
    assert [one.kind for one in rows] == sorted(one.kind for one in rows)  # claims first


@pytest.mark.parametrize("text", ["trades,resnet18", " Trades , RESNET 18 ", "ResNet-18, TRADES"])
def test_capitals_hyphens_spaces_and_order_do_not_count(text):
    assert found(text) == found("TRADES, ResNet-18")


def test_a_data_set_a_source_and_a_table_choose_among_rows():
    assert {row[3] for row in found("TRADES, ResNet-18, CIFAR-100")} == {"cifar100"}
    assert found("TRADES, ResNet-18, lethesec") == {("reproduction", "lethesec", "README", "cifar10")}
    assert found("CURE, ResNet-18, CIFAR-10, cure, Table 4") == {("claim", "cure", "Table 4", "cifar10")}
    assert found("AT, WideResNet-34-10, RiFT") == {("claim", "rift", "Table 1", name) for name in DATASETS}


DATASETS = ("cifar10", "cifar100", "tiny_imagenet")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("TRDES, ResNet-18", "no method, model, data set or source is called 'TRDES', did you mean TRADES?"),
        ("TRADES, ResNet-18, MNIST", "is called 'MNIST'"),
        ("TRADES, AT", "is called 'AT'"),  # a row has one method
        ("TRADES", "names several rows; name one method and one model: "),
        ("ResNet-18, CIFAR-100", "AT, ResNet-18, CIFAR-100"),
        ("ST-AT, ResNet-50", "no such row is published; near: ST-AT, ResNet-18"),
        ("VFD, ResNet-18", "claims.yaml has no number of VFD. The abstract is all that was found"),
        ("GKL-AT, WRN-34-10", "claims.yaml has no number of GKL-AT. No stored source shows the paper's tables"),
        ("PART, ResNet-18", "claims.yaml has no number of PART. No stored source shows the paper's tables"),
        ("", "names nothing; write METHOD, MODEL, such as 'TRADES, ResNet-18'"),
    ],
)
def test_an_unknown_or_ambiguous_claim_is_refused_with_those_that_are_near(text, said):
    with pytest.raises(UserError) as refused:
        find.claims(text, PUBLISHED)
    assert said in str(refused.value)
    assert f"--claim {text!r}" in str(refused.value)


def test_a_refusal_lists_a_dozen_and_counts_the_others():
    with pytest.raises(UserError) as refused:
        find.claims("CIFAR-10", PUBLISHED)
    assert str(refused.value).count(";") == find.MOST  # one of them behind `names several rows`
    assert str(refused.value).endswith(" more")


def test_the_images_choose_the_data_set():
    rows = find.claims("TRADES, ResNet-18", PUBLISHED)
    assert {one.dataset for one in find.on(rows, "x", "svhn")} == {"svhn"}
    with pytest.raises(UserError, match="is about CIFAR-10, CIFAR-100, SVHN, but the images are those of digits"):
        find.on(rows, "x", "digits")
    with pytest.raises(UserError, match=r"several data sets; name one of them too: .*TRADES, ResNet-18, SVHN"):
        find.on(rows, "x", "mine")
    one = find.claims("TRADES, ResNet-18, CIFAR-100", PUBLISHED)
    assert find.on(one, "x", "mine") == one
    with pytest.raises(UserError, match="is about CIFAR-100, but the images are those of cifar10"):
        find.on(one, "x", "cifar10")
