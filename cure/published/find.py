"""Find the published numbers that a text such as `TRADES, ResNet-18` names."""

import re
from difflib import get_close_matches

from cure import catalogue
from cure.core.names import NAMES
from cure.errors import UserError, did_you_mean
from cure.published.agreement import comparable
from cure.published.claims import Claim, Published

MODELS = {
    "resnet18": "ResNet-18",
    "preact_resnet18": "PreActResNet-18",
    "resnet34": "ResNet-34",
    "resnet50": "ResNet-50",
    "resnet101": "ResNet-101",
    "wrn_34_10": "WRN-34-10",
}
DATASETS = {"cifar10": "CIFAR-10", "cifar100": "CIFAR-100", "svhn": "SVHN", "tiny_imagenet": "Tiny-ImageNet"}
SPELT = {"method": NAMES, "model": MODELS, "dataset": DATASETS}
FACETS = ("method", "model", "dataset", "paper", "table")
MOST = 12  # near claims that a message lists


def claims(text: str, published: Published) -> list[Claim]:
    """Return the rows of one method and one network that `text` names: METHOD, MODEL[, DATA SET][, SOURCE[, TABLE]].

    Capitals, hyphens and spaces are ignored. The rows may belong to several data sets; `on` selects among them.

    Raises:
        UserError: no row is named so, or rows of several methods or networks are.
    """
    every = [claim for claim in (*published.claims, *published.reproductions) if _shown(claim)]
    wanted = _wanted(text, every, published)
    found = [one for one in every if all(part in _labels(one, facet) for facet, part in wanted.items())]
    if not found:
        near = [one for one in every if wanted.get("method", "") in _labels(one, "method")] or every
        raise UserError(f"--claim {text!r}: no such row is published; near: {_listed(near, text)}")
    if len({(one.method, one.model) for one in found}) > 1:
        raise UserError(f"--claim {text!r}: names several rows; name one method and one model: {_listed(found, text)}")
    return found


def on(found: list[Claim], text: str, images: str) -> list[Claim]:
    """Return the rows about the data set called `images`; raise UserError if they are about others or about several."""
    about = list(dict.fromkeys(one.dataset for one in found))
    if images in about:
        return [one for one in found if one.dataset == images]
    if images in catalogue.names("datasets") and images != "folder":
        sets = ", ".join(DATASETS[name] for name in about)
        raise UserError(f"--claim {text!r}: is about {sets}, but the images are those of {images}")
    if len(about) > 1:
        raise UserError(f"--claim {text!r}: several data sets; name one of them too: {_listed(found, text)}")
    return found


def name(claim: Claim) -> str:
    """Return the name of a row, such as TRADES, ResNet-18, CIFAR-10."""
    return ", ".join(SPELT[facet].get(getattr(claim, facet), getattr(claim, facet)) for facet in FACETS[:3])


def _shown(claim: Claim) -> bool:
    """Return whether a row is about one network, and about accuracies that an evaluation measures."""
    return claim.model != "mean" and any(comparable(measure) for measure in claim.values)


def _wanted(text: str, every: list[Claim], published: Published) -> dict[str, str]:
    """Map each facet to the part of the text that names it. A name of a method and of a paper is first a method."""
    known = {facet: {label for one in every for label in _labels(one, facet)} for facet in FACETS}
    wanted = dict[str, str]()
    for part in filter(None, (part.strip() for part in text.split(","))):
        facet = next((one for one in FACETS if one not in wanted and _plain(part) in known[one]), None)
        if facet is None:
            raise UserError(f"--claim {text!r}: {_unknown(part, every, published)}")
        wanted[facet] = _plain(part)
    if not wanted:
        raise UserError(f"--claim {text!r}: names nothing; write METHOD, MODEL, such as 'TRADES, ResNet-18'")
    return wanted


def _unknown(part: str, every: list[Claim], published: Published) -> str:
    for method, why in published.unverified.items():
        if _plain(part) in (_plain(method), _plain(NAMES.get(method, method))):
            return f"claims.yaml has no number of {part}. {why}"
    words = [SPELT.get(facet, {}).get(value, value) for facet in FACETS for value in {getattr(o, facet) for o in every}]
    return f"no method, model, data set or source is called {part!r}{did_you_mean(part, words)}"


def _labels(claim: Claim, facet: str) -> set[str]:
    value = getattr(claim, facet)
    return {_plain(value), _plain(SPELT.get(facet, {}).get(value, value))}


def _plain(text: str) -> str:
    return re.sub(r"[^a-z0-9]", "", text.lower().replace("wideresnet", "wrn").replace("(reconstruction)", ""))


def _listed(near: list[Claim], text: str) -> str:
    names = list(dict.fromkeys(map(name, near)))
    nearest = get_close_matches(text, names, n=MOST, cutoff=0)
    more = f" and {len(names) - len(nearest)} more" if len(names) > len(nearest) else ""
    return "; ".join(nearest) + more
