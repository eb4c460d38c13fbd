"""Both dvc.yaml, item by item: what a stage declares is what it imports, loads, reads and writes."""

import ast
import importlib.util
import inspect
import itertools
import re
import shutil
import subprocess
from collections import Counter
from difflib import unified_diff
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pytest
from dvc.utils.serialize import modify_yaml
from ruamel.yaml import YAML

from cure import catalogue, layerwise, paths, schema
from cure.check import check
from cure.params import read
from cure.paths import Cell
from tests.closure import NEUTRAL, ROOT, closure

SCALES = {"paper": ROOT, "quickstart": ROOT / "quickstart"}
PAGES = ("table.md", "attacks.md", "corruptions.md", "claims.md", "findings.md")
LISTS = ("attacks.csv", "survival.csv", "curves.csv", "corruptions.csv", "findings.csv")
REPORTS = (*PAGES, *LISTS, "data", "figures", "metrics.json")


class Item(NamedTuple):
    """One stage of one cell, as DVC would run it, paths relative to the folder of its dvc.yaml."""

    scale: str
    family: str
    place: dict
    cmd: str
    deps: tuple
    params: tuple
    outs: dict  # path -> flags

    @property
    def script(self):
        return Path(self.cmd.split()[1]).stem

    @property
    def analysis(self):
        return self.family.removeprefix("analyse_")

    @property
    def method(self):
        return self.place.get("method", "at" if self.family == "layers" else "natural")

    @property
    def cell(self):
        cell = Cell(self.place["dataset"], self.place["model"], self.method, self.place["seed"])
        return cell.layers(self.place["variant"], self.place["group"]) if self.family == "layers" else cell

    def __str__(self):
        return "-".join(map(str, [self.family, *self.place.values()]))


def parsed(path):
    return YAML(typ="safe", pure=True).load(path.read_text())


def at(tree, key):
    for part in key.split("."):
        tree = tree[part]
    return tree


def resolved(value, names):
    """`value` with every ${a.b} replaced as DVC does: alone it keeps its type, inside a text it becomes text."""
    if isinstance(value, dict):
        return {key: resolved(inner, names) for key, inner in value.items()}
    if isinstance(value, list):
        return [resolved(inner, names) for inner in value]
    if isinstance(value, str) and (alone := re.fullmatch(r"\$\{([\w.]+)\}", value)):
        return at(names, alone[1])
    return re.sub(r"\$\{([\w.]+)\}", lambda hit: str(at(names, hit[1])), value) if isinstance(value, str) else value


def flagged(stage):
    outs = [entry for key in ("outs", "metrics", "plots") for entry in stage.get(key, [])]
    pairs = [next(iter(entry.items())) if isinstance(entry, dict) else (entry, {}) for entry in outs]
    assert len(dict(pairs)) == len(pairs)
    return dict(pairs)


def wider(params):
    """The grid with everything that params.yaml has a section for, and a second seed, which a path may not ignore."""
    grid = params["grid"]
    models = list(params["models"])
    more = {"datasets": list(params["datasets"]), "models": models, "pretrain": models}
    more["layers"] = grid["layers"] | {"models": models}
    return grid | more | {"seeds": [*grid["seeds"], max(grid["seeds"]) + 1]}


@cache
def items(scale):
    pipeline, params = (parsed(SCALES[scale] / name) for name in ("dvc.yaml", "params.yaml"))
    names, found = params | {key: value for var in pipeline["vars"] for key, value in var.items()}, []
    names["grid"] = wider(params)
    for family, stage in pipeline["stages"].items():
        matrix = resolved(stage.get("matrix", {}), names)
        for values in itertools.product(*matrix.values()):
            place = dict(zip(matrix, values, strict=True))
            one = resolved({key: part for key, part in stage.items() if key != "matrix"}, names | {"item": place})
            one["outs"] = flagged({key: one.pop(key) for key in ("outs", "metrics", "plots") if key in one})
            found.append(Item(scale, family, place, **one))
    return tuple(found)


def of(scale, family):
    return [item for item in items(scale) if item.family == family]


FAMILIES = list(parsed(ROOT / "dvc.yaml")["stages"])
every_scale = pytest.mark.parametrize("scale", SCALES)
every_family = pytest.mark.parametrize("family", FAMILIES)


@cache
def stage_module(name):
    spec = importlib.util.spec_from_file_location(f"stage_{name}", ROOT / "stages" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def code(item):
    """dep -> the code files it stands for, relative to the project's root; a folder stands for its entries."""
    found = {}
    for dep in item.deps:
        path = (SCALES[item.scale] / dep).resolve()
        if path.is_relative_to(ROOT / "cure") or path.is_relative_to(ROOT / "stages"):
            files = path.glob("[!_]*.py") if path.is_dir() else [path]
            found[dep] = {str(file.relative_to(ROOT)) for file in files}
    return found


def code_files(item):
    return set().union(*code(item).values())


@cache
def asked_of_catalogue(script, *verbs):
    """(file, folder) of every catalogue.VERB("folder", ...) in the code that the stage reaches."""
    return {
        (name, ast.literal_eval(node.args[0]))
        for name in closure(ROOT / "stages" / f"{script}.py")
        for node in ast.walk(ast.parse((ROOT / name).read_text()))
        if isinstance(node, ast.Call) and ast.unparse(node.func) in {f"catalogue.{verb}" for verb in verbs}
    }


def folders_loaded(script):
    """The catalogues of which the stage's code loads entries."""
    return {folder for _, folder in asked_of_catalogue(script, "entry", "hyper")}


def entries(item):
    """The entry files that one item loads by name: those of its cell and analysis, but every attack and corruption."""
    cell = {**item.place, "method": item.method, "analyse": item.analysis}
    found = set()
    for folder in folders_loaded(item.script):
        own = cell.get(folder.removesuffix("s"))
        found |= {f"cure/{folder}/{name}.py" for name in ([own] if own else catalogue.names(folder))}
    return found


@cache
def reached(family):
    """What the items of a family reach at both scales together, since one list in dvc.yaml serves them all."""
    everyone = [item for scale in SCALES for item in of(scale, family)]
    loaded = set().union(*map(entries, everyone))
    starts = loaded | {f"stages/{item.script}.py" for item in everyone}
    return closure(*(ROOT / name for name in starts)) - loaded


def difference(declared, wanted):
    declared, wanted = set(map(str, declared)), set(map(str, wanted))
    return [f"add {name}" for name in sorted(wanted - declared)] + [
        f"remove {name}" for name in sorted(declared - wanted)
    ]


def require_none(found, family):
    """Fail with one line per thing to add to dvc.yaml or remove from it, and the items that this is about."""
    lines = {}
    for item, differences in found.items():
        for line in differences:
            lines.setdefault(line, []).append(item)
    if lines:
        told = "\n".join(f"  {line}  (items: {len(who)}, such as {who[0]})" for line, who in lines.items())
        pytest.fail(f"dvc.yaml, {family}:\n{told}", pytrace=False)


def parents(item):
    """The networks of earlier stages that the cell's method asks for by role."""
    rows = parsed(SCALES[item.scale] / "params.yaml")["roles"] | {"natural": "natural"}
    method = catalogue.entry("methods", item.method).METHOD
    roles = {*method.teachers, *([method.init] if method.init else [])}
    return {item.cell.of(rows[role]).weights for role in roles}


def artefacts(item):
    """(deps, outs) besides code, from cure/paths.py and from what the cell's method says of itself."""
    if item.family == "prepare":
        return set(), {paths.data(item.place["dataset"])}
    if item.family == "report":
        given = {
            "results",
            "curves",
            "provenance",
            {"paper": "./claims.yaml", "quickstart": "../claims.yaml"}[item.scale],
        }
        return given, {Path("reports") / name for name in REPORTS}
    cell, sidecar = item.cell, item.cell.provenance(item.analysis if item.script == "analyse" else item.script)
    data = paths.data(cell.dataset)
    method = catalogue.entry("methods", item.method).METHOD
    network = {cell.weights} if method.finish is None else set()
    revised = {cell.trajectory} if method.updates else parents(item)
    return {
        "pretrain": ({data}, {cell.weights, cell.curve, sidecar}),
        "update": ({data} | parents(item), {cell.trajectory, cell.curve, sidecar} | network),
        "revise": ({data} | revised, {cell.weights, cell.result("revise"), sidecar}),
        "layers": ({data, cell.of("natural").weights}, {cell.result("layers"), cell.curve, sidecar}),
        "attack": ({data, cell.weights}, {cell.result("attack"), sidecar}),
        "corrupt": ({data, cell.weights}, {cell.result("corrupt"), sidecar}),
        "analyse": ({data, cell.weights}, {cell.analysis(item.analysis), sidecar}),
    }[item.script]


def test_the_two_pipelines_differ_in_the_line_root_alone():
    paper, quickstart = ((SCALES[scale] / "dvc.yaml").read_text().splitlines() for scale in SCALES)
    assert len(paper) == len(quickstart)
    pairs = zip(paper, quickstart, strict=True)
    assert [pair for pair in pairs if pair[0] != pair[1]] == [("- root: .", "- root: ..")]


@every_family
def test_every_family_has_an_item_in_the_paper(family):
    assert of("paper", family)


@every_scale
@every_family
def test_code_deps_are_what_the_stage_reaches(scale, family):
    found = {str(item): difference(code_files(item), reached(family) | entries(item)) for item in of(scale, family)}
    require_none(found, family)


@every_scale
@every_family
def test_a_listed_catalogue_is_a_dep_as_a_folder(scale, family):
    # else a new entry could change what a stage writes, and DVC would not know; params.py alone may look at names,
    # to tell a mapping from data sets or models to values from a section of settings
    for item in of(scale, family):
        listed = asked_of_catalogue(item.script, "names") - {("cure/params.py", f) for f in ("datasets", "models")}
        folders = {(SCALES[scale] / dep).resolve().name for dep in item.deps if (SCALES[scale] / dep).is_dir()}
        assert [f"{name} lists {folder}" for name, folder in listed if folder not in folders] == []


def test_neutral_modules_exist_and_their_settings_have_no_default():
    # with one, an edit of it would change a number and re-run nothing
    assert [name for name in NEUTRAL if not (ROOT / name).exists()] == []
    found = [kind for module in (schema, layerwise) for kind in vars(module).values() if inspect.isclass(kind)]
    kinds = [kind for kind in found if kind.__module__ in (schema.__name__, layerwise.__name__)]
    assert {schema.Fit, layerwise.Freezing} <= set(kinds)
    optional = [
        f"{kind.__name__}.{name}"
        for kind in kinds
        for name, field in kind.model_fields.items()
        if not field.is_required()
    ]
    assert optional == []


@every_scale
@every_family
def test_params_are_what_the_stage_reads(scale, family):
    found = {}
    for item in of(scale, family):
        reads = stage_module(item.script).reads
        known = {"cell": lambda item: item.cell} | {
            key: lambda item, key=key: item.place[key] for key in ("dataset", "group")
        }
        found[str(item)] = difference(
            item.params, reads(*(known[name](item) for name in inspect.signature(reads).parameters))
        )
        assert len(set(item.params)) == len(item.params)
    require_none(found, f"params of {family}")


@every_scale
@every_family
def test_declared_params_are_in_params_yaml(scale, family):
    raw = parsed(SCALES[scale] / "params.yaml")
    for item in of(scale, family):
        for key in item.params:
            at(raw, key)


@every_scale
@every_family
def test_artefacts_are_those_of_the_cell_and_its_parents(scale, family):
    found = {}
    for item in of(scale, family):
        deps, outs = artefacts(item)
        found[f"{item}, deps"] = difference(set(item.deps) - set(code(item)), deps)
        found[f"{item}, outs"] = difference(item.outs, outs)
    require_none(found, family)


@every_scale
def test_cure_starts_from_the_natural_network_of_its_own_cell(scale):
    for item in of(scale, "update_from_natural_to_revise"):
        if item.cell.method == "cure":
            assert f"weights/{item.cell.dataset}/{item.cell.model}/natural-s{item.cell.seed}.safetensors" in item.deps


@every_scale
@every_family
def test_the_command_names_the_cell_in_the_order_of_main(scale, family):
    for item in of(scale, family):
        asked = list(inspect.signature(stage_module(item.script).main).parameters)
        root = {"paper": ".", "quickstart": ".."}[scale]
        named = item.place | ({"analysis": item.analysis} if item.script == "analyse" else {})
        words = ["python", f"{root}/stages/{item.script}.py", *(str(named[name]) for name in asked)]
        assert item.cmd == " ".join(words)
        assert set(asked) == set(named)


@every_scale
@every_family
def test_every_dep_is_code_that_exists_or_an_out_of_another_stage(scale, family):
    made = {path for item in items(scale) if item.family != family for path in item.outs}
    made |= {str(folder) for path in made for folder in Path(path).parents}
    made |= {"./claims.yaml", "../claims.yaml"}  # written by people
    for item in of(scale, family):
        assert [dep for dep in code(item) if not (SCALES[scale] / dep).exists()] == []
        assert set(item.deps) - set(code(item)) <= made
        assert len(set(item.deps)) == len(item.deps)


@every_scale
def test_no_two_stages_claim_one_out(scale):
    claims = Counter(path for item in items(scale) for path in item.outs)
    assert [path for path, count in claims.items() if count > 1] == []
    assert [path for path in claims if {str(folder) for folder in Path(path).parents} & set(claims)] == []


@every_scale
@every_family
def test_reports_are_in_git_and_everything_else_is_cached(scale, family):
    # a persistent out, or an uncached one of a costly stage, would switch DVC's run cache off
    for item in of(scale, family):
        assert item.outs == {path: {"cache": False} if path.startswith("reports/") else {} for path in item.outs}


@every_scale
def test_metrics_and_plots_are_outs_of_the_report(scale):
    pipeline, (report,) = parsed(SCALES[scale] / "dvc.yaml"), of(scale, "report")
    assert pipeline["stages"]["report"]["metrics"] == [{"reports/metrics.json": {"cache": False}}]
    assert [name for name, stage in pipeline["stages"].items() if "metrics" in stage] == ["report"]
    assert pipeline["plots"]
    assert set(pipeline["plots"]) <= set(report.outs)


@pytest.fixture(scope="module")
def ignored(tmp_path_factory):
    """Which paths git ignores by the .gitignore files of the project, and by no other."""
    root = tmp_path_factory.mktemp("ignored")
    subprocess.run(["git", "init", "-q", root], check=True)
    for folder in SCALES.values():
        copy = root / folder.relative_to(ROOT) / ".gitignore"
        copy.parent.mkdir(exist_ok=True)
        copy.write_text((folder / ".gitignore").read_text())

    def ask(names):
        command = ["git", "-C", root, "-c", "core.excludesFile=/dev/null", "check-ignore", "--stdin"]
        return set(subprocess.run(command, input="\n".join(names), capture_output=True, text=True).stdout.splitlines())

    return ask


@every_scale
def test_git_ignores_cached_outs_and_nothing_else_of_the_pipeline(scale, ignored):
    folder = SCALES[scale].relative_to(ROOT)
    outs = {str(folder / path): flags for item in items(scale) for path, flags in item.outs.items()}
    files = {name for item in items(scale) for name in code_files(item)}
    kept = {str(folder / name) for name in ("dvc.yaml", "dvc.lock", "params.yaml", "reports/made.json")}
    assert ignored([*outs, *files, *kept]) == {path for path, flags in outs.items() if not flags}


@every_scale
def test_rows_are_the_natural_network_and_what_the_families_make(scale):
    grid = parsed(SCALES[scale] / "params.yaml")["grid"]
    made = [name for family, names in grid.items() if family.startswith("update") for name in names]
    assert Counter(grid["rows"]) == Counter(["natural", *made, *grid["revise_from_robust"]])


def test_every_analysis_has_a_family_of_stages():
    assert {family for family in FAMILIES if family.startswith("analyse")} == {
        f"analyse_{name}" for name in catalogue.names("analyses")
    }


@every_scale
def test_the_report_draws_every_figure(scale):
    assert sorted(parsed(SCALES[scale] / "params.yaml")["report"]["figures"]) == catalogue.names("figures")


def test_the_paper_has_a_row_for_every_method():
    assert sorted(parsed(ROOT / "params.yaml")["grid"]["rows"]) == catalogue.names("methods")


@every_scale
@pytest.mark.parametrize("family", ["attack", "corrupt"])
def test_every_network_is_evaluated(scale, family):
    made = {path for item in items(scale) for path in item.outs if path.startswith("weights/")}
    assert {str(item.cell.weights) for item in of(scale, family)} == made


@every_scale
def test_params_are_without_a_mistake(scale):
    assert check(read(SCALES[scale] / "params.yaml")) == []


def test_both_scales_have_the_same_sections():
    assert set(parsed(ROOT / "params.yaml")) == set(parsed(ROOT / "quickstart" / "params.yaml"))


@every_scale
def test_params_are_written_as_dvc_writes_them(scale, tmp_path):
    # else `dvc exp run -S alpha=0.5` would change more than one line
    path = SCALES[scale] / "params.yaml"
    again = shutil.copy(path, tmp_path)
    with modify_yaml(again):
        pass
    kept, rewritten = path.read_text().splitlines(), Path(again).read_text().splitlines()
    if kept != rewritten:
        pytest.fail("\n".join(unified_diff(kept, rewritten, str(path), "as DVC writes it", n=0, lineterm="")), False)
