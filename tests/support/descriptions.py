"""The description in the file of a natural network on digits."""

from typing import Any

from cure.storage.checkpoint import Description


def natural(model: str, settings: dict[str, Any], classes: list[str], digest: str) -> Description:
    return Description(
        kind="network",
        model=model,
        settings=settings,
        channels=1,
        classes=classes,
        dataset="digits",
        data_digest=digest,
        method="natural",
        seed=0,
        params={},
        epoch=1,
        best_epoch=1,
        validation={},
    )
