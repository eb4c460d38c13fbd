"""One analysis of one evaluated network: the engine of the stage analyse. It sees the validation split, never test."""

import json

from safetensors.torch import save as to_bytes

from cure import catalogue, paths
from cure.core.analysis import Analysis, Subject
from cure.core.method import Batch, Method
from cure.core.noise import PerImage
from cure.core.settings import Settings
from cure.engine import data, device, provenance
from cure.engine.cell import parent
from cure.files import replacing
from cure.params import Params
from cure.paths import Cell
from cure.schema import Analyse, Run

LATE = 10**6
"""An epoch behind every warm-up that a method may have."""


def analyse(cell: Cell, name: str, method: Method, hyper: Settings, params: Params) -> None:
    """Write the arrays of the analysis `name` and their sidecar."""
    run, suite = params.get("run", Run), params.get("analyse", Analyse)
    where = device.set_up(run)
    source = data.load(paths.data(cell.dataset), ("val",), where)
    about, net = parent(cell.weights, cell, source.digest, f"of {name}")
    ((x, y, index),) = source.splits["val"].spread(suite.images).batches(suite.images)
    batch = Batch(x, y, index, PerImage(suite.seed, index), LATE)
    entry: Analysis = catalogue.entry("analyses", name).ANALYSIS
    arrays = entry.measure(Subject(net.to(where), method, hyper, batch))
    # as in weight files, one metadata key, since several would come in random order
    header = {"cure": json.dumps({"kind": name, "classes": about.classes, "epoch": about.epoch}, sort_keys=True)}
    with replacing(cell.analysis(name)) as draft:
        whole = {key: array.detach().cpu().contiguous() for key, array in arrays.items()}
        draft.write_bytes(to_bytes(whole, metadata=header))
    provenance.write(cell.provenance(name), run, where)
