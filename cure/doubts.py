"""The sections of params.yaml that say when an evaluation is not believed: preflight and masking."""

from typing import Annotated

from pydantic import Field, model_validator

from cure.core.settings import Count, Number, Positive, Settings, Share


class Preflight(Settings):
    """When a network is taken to be unfit for gradient attacks, and what the estimate of the cost assumes of it."""

    images: Annotated[int, Field(ge=16)]  # that are looked at; the checks that repeat forwards take 16
    rounding: Positive  # of the largest logit: other batch sizes choose other kernels
    spread: Annotated[Number, Field(ge=1)]  # times what equal forwards differ by: beyond a random network's own noise
    alive: Share  # of the images have a gradient; of sound networks nearly all
    level: Annotated[Number, Field(gt=0, lt=1)]  # chance of so many right, were it guessing, below which it is not
    clean: Share  # assumed accuracies, before anything is measured
    robust: Share

    @model_validator(mode="after")
    def _robust_is_clean(self) -> "Preflight":
        if self.robust > self.clean:
            raise ValueError(f"robust is {self.robust:g}, but only {self.clean:g} are clean; it may be at most that")
        return self


class Masking(Settings):
    """When an evaluation doubts itself; shares of images in [0, 1]. A gap counts only where chance makes none like it.

    Sound networks stay far inside: PGD-100 takes less than a point off PGD-20, the margin loss up to five off the
    cross-entropy; Carlini et al. 2019 and Croce et al. 2020 give the signs.
    """

    level: Annotated[Number, Field(gt=0, lt=1)]  # chance of a gap, were there none, below which it is one
    slack: Share  # by how much the weaker attack may be the stronger: a black box, or PGD beside AutoAttack
    steps_gap: Share  # what PGD-100 may take off PGD-20
    losses_gap: Share  # between PGD-20 on the cross-entropy and on the margin
    radius: Annotated[Number, Field(gt=1)]  # in eps: where every attack that works leaves next to nothing
    remaining: Share  # accuracy that may be left there
    images: Count  # for what the evaluation itself did not measure
