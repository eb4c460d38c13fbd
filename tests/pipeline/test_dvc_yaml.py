"""dvc.yaml, item by item: what a stage declares is what it imports, loads, reads and writes."""

import importlib
import inspect
import shutil
import subprocess
from collections import Counter
from difflib import unified_diff
from pathlib import Path

import pytest
from dvc.repo import Repo
from dvc.utils.serialize import modify_yaml
from ruamel.yaml import YAML

from cure import catalogue
from cure.settings import sections
from cure.settings.check import check
from cure.settings.families import all_methods
from cure.settings.matrix import at
from cure.settings.params import read
from cure.storage import paths
from stages import digest
from tests.support.dvc_items import (
    SCALES,
    asked_of_catalogue,
    code_files,
    items,
    made,
    of,
    reached,
    texts_of,
)
from tests.support.project import ROOT
from tests.support.settings import parsed

PILOT = ROOT / "pilot"
PROJECTS = (ROOT, ROOT / "quickstart", PILOT)
PAGES = (
    "table.md",
    "attacks.md",
    "corruptions.md",
    "claims.md",
    "findings.md",
    "pairs.md",
    "ranks.md",
    "overfitting.md",
)
LISTS = (
    "table.csv",
    "attacks.csv",
    "survival.csv",
    "curves.csv",
    "corruptions.csv",
    "findings.csv",
    "pairs.csv",
    "ranks.csv",
    "overfitting.csv",
)
REPORTS = ("index.html", *PAGES, *LISTS, "data", "figures", "pdf", "metrics.json")
FAMILIES = list(made(parsed(ROOT / "dvc.yaml")))
every_scale = pytest.mark.parametrize("scale", SCALES)
every_family = pytest.mark.parametrize("family", FAMILIES)


def stage_module(name):
    return importlib.import_module(f"stages.{name}")


def difference(declared, wanted):
    declared, wanted = set(map(str, declared)), set(map(str, wanted))
    return [f"add {name}" for name in sorted(wanted - declared)] + [
        f"remove {name}" for name in sorted(declared - wanted)
    ]


def require_none(found, family):
    """Fail with a line per thing to add to dvc.yaml or remove from it, and the items that it is about."""
    lines = {}
    for item, differences in found.items():
        for line in differences:
            lines.setdefault(line, []).append(item)
    if lines:
        told = "\n".join(f"  {line}  (items: {len(who)}, such as {who[0]})" for line, who in lines.items())
        pytest.fail(f"dvc.yaml, {family}:\n{told}", pytrace=False)


def parents(item):
    """The networks of earlier stages that the run's method asks for by role."""
    all_methods = parsed(SCALES[item.scale] / "params.yaml")["roles"] | {"natural": "natural"}
    method = catalogue.entry("methods", item.method).METHOD
    roles = {*method.teachers, *([method.init] if method.init else [])}
    return {item.run.of(all_methods[role]).weights for role in roles}


def artefacts(item):
    """(deps, outs) besides code, from cure/storage/paths.py and from what the run's method says of itself."""
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
    run, sidecar = item.run, item.run.provenance(item.script)
    data = paths.data(run.dataset)
    method = catalogue.entry("methods", item.method).METHOD
    network = {run.weights} if method.select_network is None else set()
    trained = {run.training_checkpoint} if method.updates else set()
    revised = trained or parents(item)
    return {
        "pretrain": ({data}, {run.weights, run.training_checkpoint, run.curve, sidecar}),
        "update": ({data} | parents(item), {run.training_checkpoint, run.curve, sidecar} | network),
        "revise": ({data} | revised, {run.weights, run.result("revise"), sidecar}),
        "layers": ({data, run.of("natural").weights}, {run.result("layers"), run.curve, sidecar}),
        "attack": ({data, run.weights} | trained, {run.result("attack"), sidecar}),
        "corrupt": ({data, run.weights}, {run.result("corrupt"), sidecar}),
        "analyse": ({data, run.weights, run.training_checkpoint, run.curve}, {run.analyses, sidecar}),
    }[item.script]


def test_the_three_pipelines_are_one_text_of_at_most_320_lines():
    (text,) = {(folder / "dvc.yaml").read_text() for folder in PROJECTS}
    assert text.count("\n") <= 320


def test_each_pipeline_is_a_dvc_project_with_the_same_settings_and_templates():
    templates = ["curves.json", "severities.json", "survival.json", "tradeoff.json"]
    for name in (".dvc/config", ".dvc/.gitignore", ".dvcignore", *(f".dvc/plots/{one}" for one in templates)):
        assert len({(folder / name).read_text() for folder in PROJECTS}) == 1, name
    listed = [sorted(path.name for path in (folder / ".dvc/plots").iterdir()) for folder in PROJECTS]
    assert listed == [templates] * 3


def test_the_stage_code_runs_every_time_and_its_texts_stand_in_git():
    (text,) = {(folder / "code/dvc.yaml").read_text() for folder in PROJECTS}
    ((name, stage),) = YAML(typ="safe").load(text)["stages"].items()
    assert name == "code"
    flags = {"cache": False, "persist": True}
    assert stage["outs"] == [{f"code/{folder}": flags} for folder in ("stages", *digest.CATALOGUES, *digest.NAMED)]
    assert stage["always_changed"]
    assert "deps" not in stage


def test_the_stage_show_runs_every_time_after_the_report_and_makes_nothing():
    families = parsed(ROOT / "dvc.yaml")["stages"]
    assert list(families)[-2:] == ["report", "show"]
    show = families["show"]
    assert show["always_changed"]
    assert set(show) == {"cmd", "meta", "deps", "always_changed"}
    assert set(show["deps"]) <= {name for out in families["report"]["outs"] for name in out}


def test_root_is_the_way_from_the_folder_to_the_project():
    for folder in PROJECTS:
        assert (folder / read(folder / "params.yaml")["root"]).resolve() == ROOT


def test_the_pilot_is_the_quickstart_on_other_data(tmp_path):
    assert (PILOT / ".gitignore").read_text() == (SCALES["quickstart"] / ".gitignore").read_text()
    assert check(read(PILOT / "params.yaml")) == []
    again = shutil.copy(PILOT / "params.yaml", tmp_path)
    with modify_yaml(again):
        pass
    assert Path(again).read_text() == (PILOT / "params.yaml").read_text()


@every_family
def test_every_family_has_an_item_in_the_paper(family):
    assert of("paper", family)


@every_scale
@every_family
def test_the_texts_of_a_stage_name_the_code_that_it_reaches(scale, family):
    found = {str(item): difference(code_files(item), reached(item)) for item in of(scale, family)}
    require_none(found, family)


@every_scale
@every_family
def test_no_stage_lists_a_catalogue(scale, family):
    # else a new entry could change what a stage writes, and DVC would not know; params.py alone may look at names,
    # to tell a mapping from data sets or models to values from a section of settings
    for item in of(scale, family):
        assert asked_of_catalogue(item.script, "names") == set()


@every_scale
@every_family
def test_params_are_what_the_stage_reads(scale, family):
    found = {}
    for item in of(scale, family):
        reads = stage_module(item.script).reads
        known = {"run": lambda item: item.run} | {
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
        found[f"{item}, deps"] = difference({dep for dep in item.deps if not dep.startswith("code/")}, deps)
        found[f"{item}, outs"] = difference(item.outs, outs)
    require_none(found, family)


@every_scale
def test_cure_starts_from_the_natural_network_of_its_own_cell(scale):
    for item in of(scale, "update_from_natural_to_revise"):
        if item.run.method == "cure":
            assert f"weights/{item.run.dataset}/{item.run.model}/natural-s{item.run.seed}.safetensors" in item.deps


@every_scale
@every_family
def test_the_command_names_the_cell_in_the_order_of_main(scale, family):
    for item in of(scale, family):
        asked = list(inspect.signature(stage_module(item.script).main).parameters)
        root = {"paper": ".", "quickstart": ".."}[scale]
        words = ["python", f"{root}/stages/{item.script}.py", *(str(item.place[name]) for name in asked)]
        assert item.cmd == " ".join(words)
        assert set(asked) == set(item.place)


@every_scale
@every_family
def test_every_dep_is_code_that_exists_or_an_out_of_another_stage(scale, family):
    made = {path for item in items(scale) if item.family != family for path in item.outs}
    made |= {str(folder) for path in made for folder in Path(path).parents}
    made |= {"./claims.yaml", "../claims.yaml"}  # written by people
    made |= {f"code/{name}" for name in texts_of(scale)} | {f"code/{folder}" for folder in digest.NAMED}
    for item in of(scale, family):
        assert set(item.deps) <= made
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
    drawn = [next(iter(plot.values())) for plot in pipeline["plots"] if isinstance(plot, dict)]
    shown = [name for plot in drawn for name in plot["y"]] + [
        name for name in pipeline["plots"] if isinstance(name, str)
    ]
    outs = [Path(out) for out in report.outs]
    assert shown
    assert [name for name in shown if not any(Path(name).is_relative_to(out) for out in outs)] == []
    assert [plot["template"] for plot in drawn if not (ROOT / ".dvc/plots" / f"{plot['template']}.json").exists()] == []


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


@pytest.mark.parametrize("family", sections.FAMILIES)
def test_every_list_of_methods_has_its_families_of_stages(family):
    assert {family, f"attack_{family}", f"corrupt_{family}"} <= set(FAMILIES)


@every_scale
def test_every_analysis_is_made(scale):
    assert sorted(parsed(SCALES[scale] / "params.yaml")["analyse"]["entries"]) == catalogue.names("analyses")


@every_scale
def test_the_report_draws_every_figure(scale):
    blank = {"quickstart": {"actions", "saliency"}}.get(scale, set())  # constant, or too coarse, on 8x8 digits
    found = parsed(SCALES[scale] / "params.yaml")["report"]["figures"]
    assert sorted(found) == [name for name in catalogue.names("figures") if name not in blank]


def test_the_paper_has_a_row_for_every_method():
    assert sorted(all_methods(parsed(ROOT / "params.yaml")["grid"])) == catalogue.names("methods")


@every_scale
@pytest.mark.parametrize("script", ["attack", "corrupt"])
def test_every_network_is_evaluated_once(scale, script):
    made = [path for item in items(scale) for path in item.outs if path.startswith("weights/")]
    assert sorted(str(item.run.weights) for item in items(scale) if item.script == script) == sorted(made)


@every_scale
def test_params_are_without_a_mistake(scale):
    assert check(read(SCALES[scale] / "params.yaml")) == []


def test_both_scales_have_the_same_sections():
    assert set(parsed(ROOT / "params.yaml")) == set(parsed(ROOT / "quickstart" / "params.yaml"))


@every_scale
def test_dvc_shows_the_params_of_its_own_project(scale):
    """Key by key, DVC cannot read a mapping such as {1: 0, 11: 1}; a whole file it can."""
    (shown,) = Repo(str(SCALES[scale])).params.show()[""]["data"].items()
    assert (shown[0], shown[1]["data"].keys()) == ("params.yaml", parsed(SCALES[scale] / "params.yaml").keys())


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


@pytest.mark.parametrize("scale", SCALES)
def test_the_stages_that_need_no_gpu_are_marked(scale):
    stages = parsed(SCALES[scale] / "dvc.yaml")["stages"]
    for name, stage in stages.items():
        light = name.partition("_")[0] in ("prepare", "corrupt", "report", "show")
        assert stage.get("meta") == ({"gpu": False} if light else None), name
