"""The layout rule: imports point down, entries know no siblings, and what decides numbers touches no file or device."""

import ast
from collections import Counter
from functools import cache
from graphlib import TopologicalSorter
from itertools import combinations

import pytest

from stages.digest import module
from tests.support.dvc_items import closure
from tests.support.project import ROOT

FILES = sorted(
    str(path.relative_to(ROOT)) for folder in ("cure", "stages", "tools") for path in (ROOT / folder).rglob("*.py")
)
CATALOGUES = ("methods", "attacks", "analyses", "corruptions", "datasets", "models", "figures")
FLOORS = (  # from the top: a file imports its own room and rooms below it, never one of its own floor
    ("cure/cli.py", "cure/__init__.py"),
    ("tools",),
    ("stages", "cure/pipeline"),
    ("cure/training",),
    ("cure/reporting",),
    ("cure/evaluation/standalone",),
    ("cure/evaluation/diagnostics",),
    ("cure/evaluation",),
    ("cure/published",),
    ("cure/evaluation/statistics",),
    tuple(f"cure/{name}" for name in CATALOGUES[:5]),
    ("cure/adversarial",),
    ("cure/data",),
    ("cure/nn",),
    ("cure/storage",),
    ("cure/runtime",),
    tuple(f"cure/{name}" for name in CATALOGUES[5:]),
    ("cure/core",),
    ("cure/settings",),
    ("cure/catalogue.py",),
    ("cure/errors.py",),
)
ROOMS = {room: floor for floor, rooms in enumerate(FLOORS) for room in rooms}
LOOSE = {"__init__", "catalogue", "cli", "errors"}
MOST_LINES = 250  # of a file
MOST_LINES_OF_A_FUNCTION = 50
MOST_FILES = 15
MORE_FILES = {"cure/reporting": 18}
PURE = {"core", "nn", "adversarial", "methods", "models", "attacks", "corruptions", "analyses", "figures"}
OPENING = {"open", "read_text", "read_bytes", "write_text", "write_bytes", "mkdir", "unlink"}
SAVING = {"torch.load", "torch.save", "np.load", "np.save", "savefig", "safe_open", "save_file", "load_file"}
MEASURES = {
    "stages/attack.py",
    "stages/corrupt.py",
    "cure/evaluation/evaluated_run.py",
    "cure/evaluation/standalone/images.py",
}


def room(name):
    """The smallest room that holds a file."""
    held = [place for place in ROOMS if name == place or name.startswith(f"{place}/")]
    return max(held, key=len, default=None)


@cache
def nodes(name):
    return tuple(ast.walk(ast.parse((ROOT / name).read_text(), name)))


def of(name, kind):
    return [node for node in nodes(name) if isinstance(node, kind)]


def calls(name):
    return [(ast.unparse(node.func), node) for node in of(name, ast.Call)]


def strings(node):
    return [part.value for part in ast.walk(node) if isinstance(part, ast.Constant) and isinstance(part.value, str)]


def within(name, folder):
    return name.startswith(f"cure/{folder}/")


def at_line(name, node, what):
    return f"{name}:{node.lineno}: {what}"


def test_every_file_is_in_a_room():
    assert [name for name in FILES if room(name) is None] == []
    assert {path.stem for path in (ROOT / "cure").glob("*.py")} == LOOSE


@pytest.mark.parametrize("above", ROOMS)
def test_imports_point_down(above):
    files = [name for name in FILES if room(name) == above]
    arrows = [(name, str(path.relative_to(ROOT))) for name in files for path in module(ROOT / name)[1]]
    assert files
    assert [
        f"{name} -> {below}" for name, below in arrows if room(below) != above and ROOMS[room(below)] <= ROOMS[above]
    ] == []


def test_no_imports_go_in_a_circle():
    graph = {name: [str(path.relative_to(ROOT)) for path in module(ROOT / name)[1]] for name in FILES}
    TopologicalSorter(graph).prepare()  # raises CycleError


def test_entries_know_no_siblings_and_parts_no_entries():
    files = [name for name in FILES if name.split("/")[1] in CATALOGUES]
    arrows = [(name, str(path.relative_to(ROOT))) for name in files for path in module(ROOT / name)[1]]
    inside = [(name, below) for name, below in arrows if room(name) == room(below)]
    assert [
        f"{name} -> {below}" for name, below in inside if "/parts/" not in below and not below.endswith(".html")
    ] == []


def test_no_machinery_folder_is_crowded():
    counts = Counter(name.rpartition("/")[0] for name in FILES if not name.endswith("__init__.py"))
    machinery = {folder: count for folder, count in counts.items() if folder.split("/")[-1] not in CATALOGUES}
    assert {f: n for f, n in machinery.items() if n > MORE_FILES.get(f, MOST_FILES)} == {}


def test_product_code_patches_nothing():
    # what a function does is said by its arguments or by a context that it declares, not from outside
    files = [*FILES, *(str(path.relative_to(ROOT)) for path in (ROOT / "pilot").rglob("*.py"))]
    assert any(name.startswith("pilot/") for name in files)
    found = [(name, node, ast.unparse(node)) for name in files for node in of(name, ast.Import | ast.ImportFrom)]
    assert [at_line(name, node, line) for name, node, line in found if "unittest" in line] == []


def test_nothing_imports_a_script():
    # stages are run by DVC; what two of them share lies in cure/
    modules = [(name, node) for name in FILES for node in of(name, ast.Import | ast.ImportFrom)]
    named = [(name, node, getattr(node, "module", None) or node.names[0].name) for name, node in modules]
    assert [at_line(name, node, module) for name, node, module in named if module.split(".")[0] == "stages"] == []


def test_the_import_closure_sees_every_import():
    # the stage code reads imports and runs none: no relative import, none by name, no code in a package
    relative = [at_line(name, n, ast.unparse(n)) for name in FILES for n in of(name, ast.ImportFrom) if n.level]
    by_name = {name for name in FILES for words, _ in calls(name) if "import_module" in words or "__import__" in words}
    packages = [name for name in FILES if name.endswith("/__init__.py") and of(name, ast.Module)[0].body]
    packages.remove("cure/__init__.py")  # imports when asked for a name, which no stage does
    known = {
        "cure/catalogue.py",
        "cure/storage/external_checkpoint.py",
    }  # entries, which dvc.yaml names; and a user's own factory
    assert (relative, by_name, packages) == ([], known, [])


@pytest.mark.parametrize("folder", sorted(PURE))
def test_files_are_opened_elsewhere(folder):
    found = [(name, words, node) for name in FILES if within(name, folder) for words, node in calls(name)]
    assert found
    opened = [hit for hit in found if hit[1].split(".")[-1] in OPENING or hit[1] in SAVING]
    assert [at_line(name, node, words) for name, words, node in opened] == []


@pytest.mark.parametrize("folder", sorted(PURE))
def test_devices_are_picked_elsewhere(folder):
    files = [name for name in FILES if within(name, folder)]
    chosen = [(name, node, words) for name in files for words, node in calls(name) if picks_a_device(words, node)]
    assert [at_line(name, node, words) for name, node, words in chosen] == []


def picks_a_device(words, call):
    named = [*call.args, *(keyword.value for keyword in call.keywords if keyword.arg == "device")]
    literal = any(text.split(":")[0] in ("cpu", "cuda", "mps") for part in named for text in strings(part))
    return words.split(".")[-1] in ("cuda", "is_available") or words == "torch.device" or literal


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("net.cuda()", True),
        ("torch.device('cuda')", True),
        ("torch.cuda.is_available()", True),
        ("x.to('cuda:0')", True),
        ("torch.zeros(3, device='cpu')", True),
        ("torch.zeros(3, device=x.device)", False),
        ("x.to(y.device)", False),
        ("x.cpu()", False),
    ],
)
def test_a_picked_device_is_told_from_a_taken_one(code, expected):
    call = ast.parse(code, mode="eval").body
    assert picks_a_device(ast.unparse(call.func), call) == expected


def test_only_measurements_see_the_test_split():
    seen = {name for name, node in loads() if "test" in strings(node)}
    seen |= {
        name for name in FILES for node in of(name, ast.Subscript) if is_of_splits(node) and "test" in strings(node)
    }
    assert "cure/evaluation/evaluated_run.py" in seen
    assert seen <= MEASURES


@pytest.mark.parametrize("training", ["pretrain", "update", "revise", "analyse", "layers"])
def test_training_reaches_no_code_that_sees_the_test_split(training):
    assert closure(ROOT / "stages" / f"{training}.py") & MEASURES == set()


def test_splits_are_spelt_out_where_they_are_loaded():
    # names put together elsewhere, or `load` under another name, would hide the test split from the tests above
    vague = [at_line(name, node, ast.unparse(node)) for name, node in loads() if not spelt_out(node.args[1])]
    froms = [(name, node) for name in FILES for node in of(name, ast.ImportFrom)]
    assert vague == []
    assert [at_line(name, node, ast.unparse(node)) for name, node in froms if node.module == "cure.data.prepared"] == []


def loads():
    return [
        (name, node)
        for name in FILES
        for words, node in calls(name)
        if words in ("prepared.load", "prepared_file.load")
    ]


def is_of_splits(subscript):
    return ast.unparse(subscript.value).split(".")[-1] == "splits"


def spelt_out(node):
    return isinstance(node, ast.Tuple) and all(isinstance(part, ast.Constant) for part in node.elts)


def test_no_two_methods_share_a_run_of_six_lines():
    def runs(name):
        body = (ROOT / name).read_text().split('"""', 2)[2]  # behind the docstring
        lines = [line.strip() for line in body.splitlines() if line.strip() and "import" not in line]
        return {tuple(lines[i : i + 6]) for i in range(len(lines) - 5)}

    files = [name for name in FILES if within(name, "methods") and not name.endswith("__init__.py")]
    shared = [(a, b) for a, b in combinations(files, 2) if runs(a) & runs(b)]
    assert shared == []


def test_a_stage_runs_the_code_of_its_own_copy():
    # DVC runs queued experiments in a copy, and the installed cure is the workspace's
    heads = {path.name: path.read_text().partition("\nfrom cure")[0] for path in (ROOT / "stages").glob("*.py")}
    assert heads
    assert [name for name, head in heads.items() if "\nsys.path.insert(0, str(" not in head] == []


def test_files_are_short():
    lengths = {name: len((ROOT / name).read_text().splitlines()) for name in FILES}
    assert {name: length for name, length in lengths.items() if length > MOST_LINES} == {}


def test_functions_are_short():
    def prose(node):
        """Return the number of lines of a docstring, which describes each argument and may be long."""
        return node.body[0].end_lineno - node.body[0].lineno + 1 if ast.get_docstring(node) else 0

    functions = [(name, node) for name in FILES for node in of(name, ast.FunctionDef | ast.AsyncFunctionDef)]
    lengths = [(name, node, node.end_lineno - node.lineno + 1 - prose(node)) for name, node in functions]
    assert [at_line(name, n, n.name) for name, n, length in lengths if length > MOST_LINES_OF_A_FUNCTION] == []


def test_contributing_has_these_rooms_and_lengths():
    rules = (ROOT / "CONTRIBUTING.md").read_text()
    assert "".join(f"      {', '.join(rooms)}\n" for rooms in FLOORS) in rules
    assert (
        f"up to about {MOST_LINES} lines, a function up to about {MOST_LINES_OF_A_FUNCTION} without its docstring."
        in rules
    )
    assert f"up to about {MOST_FILES} files" in rules


def test_modules_are_named_by_what_they_hold():
    vague = {"util", "utils", "helper", "helpers", "misc", "common", "stuff"}
    assert [name for name in FILES if vague & set(name.removesuffix(".py").split("/"))] == []
