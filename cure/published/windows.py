"""Define acceptance windows: the accuracies that a row should have if it is trained and attacked as published."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from cure.settings.base import Count, Settings

Ends = Annotated[list[float], Field(min_length=2, max_length=2)]


class Window(Settings):
    """Lowest and highest accuracy in percent of one method on one data set and network, by measure.

    A row is at paper scale if it was trained for at least `epochs` and attacked on all `images`.
    """

    method: str
    dataset: Literal["cifar10", "cifar100", "svhn", "tiny_imagenet"]
    model: str
    called: str = ""  # the method's preset, where its name leaves that open
    average: bool = False  # about the average of a run's weights
    best: bool = False  # about a best epoch; a row that reports its last epoch is not tested
    source: str  # where the window comes from
    epochs: Count
    images: Count
    under: dict[str, str]  # measure -> its attack, under `attacks` in claims.yaml
    ends: dict[str, Ends]
    below: dict[str, str] = Field(default_factory=dict)  # measure -> the method that must be above this one

    @model_validator(mode="after")
    def _is_whole(self) -> "Window":
        for measure, (low, high) in self.ends.items():
            if not 0 <= low < high <= 100:
                raise ValueError(f"{measure}: [{low:g}, {high:g}] is not a window; give its lower and upper end")
        for measure in {*self.ends, *self.below} - {"clean", *self.under}:
            raise ValueError(f"under: names no attack for {measure}; add it")
        return self
