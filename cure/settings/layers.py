"""The settings of the layer-wise study, which trains some blocks of the natural network and freezes the rest."""

from typing import Annotated, Literal

from pydantic import ConfigDict, Field, model_validator

from cure.settings.base import Name, Settings, name

NATURAL = "natural"
Variant = Literal["reinit", "finetune"]
"""Whether the chosen blocks start from fresh weights or from the natural ones."""


class LayersGrid(Settings):
    """The runs of the layer-wise study: models x variants x groups of block sets, for every data set and seed."""

    models: list[str]  # none: no study
    variants: list[Variant]  # how the chosen blocks start
    groups: list[Name]  # keys of layers.blocks


class Freezing(Settings):
    """Which weights and statistics outside the chosen blocks stay fixed; the released code has `false` throughout."""

    freeze_stem: bool  # whether the stem is frozen as well
    bn_frozen_eval: bool  # else its batch norms normalise by the batch, and their running statistics drift
    reinit_bn: bool  # whether re-initialised blocks forget their batch norms


class Blocks(Settings):
    """The block sets that one run of the layer-wise study trains: name -> parts of the model."""

    model_config = ConfigDict(extra="allow")
    __pydantic_extra__: dict[str, Annotated[list[str], Field(min_length=1)]]

    @model_validator(mode="after")
    def _sets_have_names(self) -> "Blocks":
        for key in self.__pydantic_extra__:
            try:
                name(key)
            except ValueError as problem:
                raise ValueError(f"{key!r} is {problem}") from None
            if key == NATURAL:
                raise ValueError(f"a set is named {NATURAL}, like the network that all sets start from; rename it")
        return self

    @property
    def sets(self) -> dict[str, list[str]]:
        """Return the sets in the order of params.yaml."""
        return dict(self.__pydantic_extra__)
