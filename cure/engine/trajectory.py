"""The networks inside a file of several: what the stage revise and `cure eval` read."""

from pathlib import Path

from cure import catalogue
from cure.core.network import Network
from cure.engine.checkpoint import Description, State, build, fill


def networks(about: Description, states: dict[str, State], path: Path) -> dict[str, Network]:
    """The networks of the described model in a file; predictors and the like, which are none, are left out."""
    prepare = catalogue.entry("methods", about.method).METHOD.prepare if about.kind == "trajectory" else None
    found = {}
    for name, state in states.items():
        net = build(about.model, about.settings, about.channels, len(about.classes))
        if prepare is not None:
            prepare(net)
        if name in ("", "last", "best") or set(state) == set(net.state_dict()):
            fill(net, state, f"{path}: weights do not fit {about.model}")
            found[name] = net.eval()
    return found
