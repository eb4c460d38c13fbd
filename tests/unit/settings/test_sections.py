"""The sections of params.yaml: every number that a person may tune stands there, and none in the code."""

import inspect

from cure.settings import layers, sections, training


def test_settings_have_no_default() -> None:
    modules = {module.__name__: module for module in (sections, layers, training)}
    found = [kind for module in modules.values() for kind in vars(module).values() if inspect.isclass(kind)]
    kinds = [kind for kind in found if kind.__module__ in modules]
    assert {sections.Fit, sections.RunSettings, layers.Freezing, sections.Masking} <= set(kinds)
    optional = [
        f"{kind.__name__}.{name}"
        for kind in kinds
        for name, field in kind.model_fields.items()
        if not field.is_required()
    ]
    assert optional == []
