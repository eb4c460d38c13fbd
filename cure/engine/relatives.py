"""The networks inside a file of several: what `revise` consolidates and `cure eval` evaluates."""

from pathlib import Path

from cure import catalogue
from cure.core.network import Network
from cure.engine.checkpoint import Description, State, build, fill


def networks(about: Description, states: dict[str, State], path: Path) -> dict[str, Network]:
    """The networks of the described model in a file, without its snapshots (SHARE/NETWORK), predictors and the like."""
    prepare = catalogue.entry("methods", about.method).METHOD.prepare if about.kind == "trajectory" else None
    found = {}
    for name, state in states.items():
        if "/" in name:
            continue
        net = build(about.model, about.settings, about.channels, len(about.classes))
        if prepare is not None:
            prepare(net)
        if name in ("", "last", "best") or set(state) == set(net.state_dict()):
            fill(net, state, f"{path}: weights do not fit {about.model}")
            found[name] = net.eval()
    return found
