import pandas as pd

from cure.reporting import overfitting


def history(**curves: list[float]) -> pd.DataFrame:
    """Validation PGD accuracies of the epochs, for `method_seed`."""
    lines = []
    for name, accuracies in curves.items():
        method, seed = name.split("_")
        for epoch, share in enumerate(accuracies, start=1):
            lines.append({"epoch": epoch, "val_clean": 0.9, "val_pgd": share, "method": method, "seed": int(seed)})
    return pd.DataFrame(lines).assign(setting="digits/small")


def test_best_is_the_earlier_of_equals_and_the_difference_is_last_minus_best() -> None:
    (line,) = overfitting.epochs(history(at_0=[0.2, 0.5, 0.5, 0.4])).to_dict("records")
    assert (line["best_epoch"], line["last_epoch"]) == (2, 4)
    assert (line["best"], line["last"], round(line["difference"], 6)) == (50, 40, -10)


def test_without_a_fall_the_last_epoch_is_the_best() -> None:
    (line,) = overfitting.epochs(history(at_0=[0.2, 0.5])).to_dict("records")
    assert (line["best_epoch"], line["difference"]) == (2, 0)


def test_one_seed_has_no_spread_and_two_have_the_sample_deviation() -> None:
    found = overfitting.epochs(history(at_0=[0.5, 0.4], trades_0=[0.5, 0.4], trades_1=[0.6, 0.5]))
    text = overfitting.page(found, pd.DataFrame(), {})
    assert "| AT | 1 | 2 | 50.00 | 40.00 | -10.00 | 90.00 | 90.00 |" in text
    assert "| TRADES | 1 | 2 | 55.00 ± 7.07 | 45.00 ± 7.07 | -10.00 ± 0.00 | 90.00 ± 0.00 | 90.00 ± 0.00 |" in text
    assert "of 2 seeds" in text


def test_the_page_says_which_split_and_which_way_it_is_biased() -> None:
    text = " ".join(overfitting.page(overfitting.epochs(history(at_0=[0.5])), pd.DataFrame(), {}).split())
    assert "On the validation split" in text
    assert "biased upward" in text


def on_test(**numbers: float) -> pd.DataFrame:
    """What the test split says of AT and of RiFT, which has no epochs of its own."""
    return pd.DataFrame(
        [{"setting": "digits/small", "method": name, "seed": 0, "pgd20": 40.0} | numbers for name in ("at", "rift")]
    )


def test_on_the_test_split_best_last_and_difference_stand_beside_each_other() -> None:
    lines = on_test(pgd20_last=38.5, pgd20_delta=-1.5)
    text = overfitting.page(overfitting.epochs(history(at_0=[0.5])), lines, {"pgd20": "PGD-20"})
    assert "| Method | PGD-20, best | PGD-20, last | PGD-20, Δ |" in text
    assert "| AT | 40.00 | 38.50 | -1.50 |" in text
    assert "RiFT" not in text


def test_a_last_network_that_was_not_measured_is_a_dash() -> None:
    text = overfitting.page(overfitting.epochs(history(at_0=[0.5])), on_test(), {"pgd20": "PGD-20"})
    assert "| AT | 40.00 | - | - |" in text
