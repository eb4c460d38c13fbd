"""Every command in README and docs is one that its program accepts: parsed by the program's own parser, not run."""

import re
import subprocess
import tomllib
from functools import cache
from pathlib import Path

import click
import pytest
import typer
from dvc.cli.parser import get_main_parser
from dvc.exceptions import DvcException
from ruamel.yaml import YAML

from cure.cli import app
from pilot import gpu, merge, study
from tests.support.commands import TEXTS, Command, commands, lines
from tests.support.project import ROOT

CURE = typer.main.get_command(app)
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
SCRIPTS = {"pilot.gpu": gpu.main, "pilot.merge": merge.main, "pilot.study": study.main}
USAGE = (click.UsageError, typer.BadParameter.__base__)  # typer brings a click of its own
SHELL = {"cp", "export", "rm", "source"}
INCOMPLETE = ("required", "expected", "requires an argument", "Missing")


@pytest.fixture(scope="module")
def uv() -> Path:
    found = ROOT / ".uv" / "bin" / "uv"
    return found if found.exists() else pytest.skip("uv is not in .uv")


def refusal(one: Command, uv: Path) -> str | None:
    """Why a program would not accept the command; None if it would."""
    program, *words = one.words
    name = Path(program).name
    if name == "uv":
        return of_uv(one, words, uv)
    if name in ("python", "python3"):
        return of_module(words)
    checks = {"cure": of_cure, "dvc": of_dvc, "make": of_make, "pytest": of_pytest, "git": of_git, "dask": of_dask}
    if name in checks:
        found = checks[name](one, words)
        return None if found and not one.whole and any(word in found for word in INCOMPLETE) else found
    if name == "cd":
        return None if Path(words[0]).is_absolute() or (one.folder / words[0]).is_dir() else "no such folder"
    return None if name in SHELL else "no program that this test knows"


@cache
def output(*words: str) -> str:
    return subprocess.run(words, cwd=ROOT, capture_output=True, text=True).stdout


def of_click(command: click.Command, words: list[str]) -> str | None:
    try:
        command.make_context(command.name, list(words))
    except USAGE as problem:
        return problem.format_message()
    except (click.exceptions.Exit, typer.Exit):
        return None
    return None


def of_cure(one: Command, words: list[str]) -> str | None:
    if not words or words[0].startswith("-"):
        return of_click(CURE, words) if words else None
    known = CURE.commands.get(words[0])
    return of_click(known, words[1:]) if known else f"no verb {words[0]}"


def of_dvc(one: Command, words: list[str]) -> str | None:
    if not words:
        return None
    said: list[str] = []
    parser = get_main_parser()
    quiet(parser, said)
    try:
        given = parser.parse_args(words)
    except (SystemExit, DvcException, ValueError):
        return said[0] if said else "not a dvc command"
    folder = one.folder / given.cd
    targets = [t for t in getattr(given, "targets", None) or [] if given.cmd in ("repro", "commit") and "." not in t]
    stages = loaded(folder / "dvc.yaml")["stages"] if targets else {}
    wrong = [t for t in targets if t != "STAGE" and "*" not in t and t.partition("@")[0] not in stages]
    wrong += [key for key in getattr(given, "set_param", None) or [] if not is_param(folder, key.partition("=")[0])]
    return f"no stage or key {', '.join(wrong)}" if wrong else None


def quiet(parser, said: list[str]) -> None:
    """Let a parser and those below it note their errors instead of printing them."""

    def error(message: str) -> None:
        said.append(message)
        raise ValueError(message)

    parser.error = error
    for action in parser._actions:
        for below in action.choices.values() if isinstance(action.choices, dict) else ():
            quiet(below, said)


@cache
def loaded(path: Path) -> dict:
    return YAML(typ="safe").load(path)


def is_param(folder: Path, key: str) -> bool:
    """Whether params.yaml of the folder has the key; one behind a + is new, in a section that is there."""
    value = loaded((folder if (folder / "params.yaml").exists() else ROOT) / "params.yaml")
    new, parts = key.startswith("+"), key.lstrip("+").split(".")
    if parts == ["KEY"]:
        return True
    for part in parts[:-1] if new else parts:
        if not isinstance(value, dict) or part not in value:
            return False
        value = value[part]
    return isinstance(value, dict) if new else True


def of_make(one: Command, words: list[str]) -> str | None:
    targets = re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    return next((f"no target {word}" for word in words if word not in targets), None)


def of_pytest(one: Command, words: list[str]) -> str | None:
    known = output("python", "-m", "pytest", "--help")
    for option, value in zip(words, [*words[1:], ""], strict=True):
        if option.startswith("-") and not re.search(rf"(^|[\s,]){re.escape(option.partition('=')[0])}\b", known):
            return f"no option {option}"
        if option == "-m" and not any(mark.startswith((f"{value}:", f"{value}(")) for mark in markers()):
            return f"no marker {value}"
        if option.startswith("tests") and not (ROOT / option).exists():
            return f"no file {option}"
    return None


def markers() -> list[str]:
    return PROJECT["tool"]["pytest"]["ini_options"]["markers"]


def of_git(one: Command, words: list[str]) -> str | None:
    return None if words[0] in output("git", "--list-cmds=builtins").split() else f"no git {words[0]}"


def of_dask(one: Command, words: list[str]) -> str | None:
    from distributed.cli import dask_scheduler, dask_worker

    known = {"scheduler": dask_scheduler.main, "worker": dask_worker.main}
    return of_click(known[words[0]], words[1:]) if words[0] in known else f"no dask {words[0]}"


def of_module(words: list[str]) -> str | None:
    if words[0].endswith(".py"):
        return None if (ROOT / "quickstart" / words[0]).exists() else "no such script"
    if words[0] != "-m":
        return "neither a module nor a script"
    name, *rest = words[1:]
    if name == "pytest":
        return of_pytest(Command((), ROOT, True), rest)
    if name in SCRIPTS:
        script = typer.Typer()
        script.command()(SCRIPTS[name])
        return of_click(typer.main.get_command(script), rest)
    if name == "pip":
        return None if rest[0] == "install" else "not pip install"
    path = ROOT / f"{name.replace('.', '/')}.py"
    takes = name == "tools.performance" or not rest
    return None if path.exists() and takes else f"no module {name} that takes {rest}"


def of_uv(one: Command, words: list[str], uv: Path) -> str | None:
    verb, *rest = words
    shown = output(str(uv), verb, "--help")
    if not shown:
        return f"no uv {verb}"
    while rest and rest[0].startswith("--"):
        option, rest = rest[0], rest[1:]
        if not re.search(rf"{re.escape(option)}\b", shown):
            return f"no option {option}"
        if option in ("--extra", "--group"):
            groups = PROJECT["project"]["optional-dependencies"] | PROJECT["dependency-groups"]
            if rest[0] not in groups:
                return f"no extra {rest[0]}"
            rest = rest[1:]
    return refusal(Command(tuple(rest), one.folder, one.whole), uv) if verb == "run" and rest else None


@pytest.mark.parametrize("text", TEXTS)
def test_every_command_of_a_page_is_accepted(text: str, uv: Path) -> None:
    found = [(str(one), refusal(one, uv)) for one in commands((ROOT / text).read_text())]
    assert [f"{line}: {why}" for line, why in found if why] == []


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("cure evl x.pt", "no verb evl"),
        ("cure eval x.pt --modle small", "No such option: --modle"),
        ("cure eval x.pt --n many", "valid integer"),
        ("cure compare one", "Missing argument"),
        ("dvc --cd quickstart rerpo", "rerpo"),
        ("dvc exp run -S alhpa=0.5", "no stage or key alhpa=0.5"),
        ("dvc exp run -S '+methods.ard.trian.drops.151=0.01'", "no stage or key"),
        ("dvc repro updat@digits-small-at-0", "no stage or key updat@"),
        ("make quikc", "no target quikc"),
        ("pytest -n auto -m quikc", "no marker quikc"),
        ("pytest --nothing", "no option --nothing"),
        ("python -m tools.gone", "no module tools.gone"),
        ("python ../stages/updat.py", "no such script"),
        ("python -m pilot.study archive.tar tier1 --worker 2", "No such option: --worker"),
        ("uv sync --extra gird", "no extra gird"),
        (".uv/bin/uv run --lokced dvc repro", "no option --lokced"),
        (".uv/bin/uv run --locked dvc rerpo", "rerpo"),
        ("git cloen x", "no git cloen"),
        ("cd quikstart", "no such folder"),
        ("dask wroker tls://head:8786", "no dask wroker"),
        ("cuer eval", "no program that this test knows"),
    ],
)
def test_a_wrong_command_is_found(line: str, why: str, uv: Path) -> None:
    [one] = lines(line, True)
    assert why in (refusal(one, uv) or "accepted")


def test_a_command_may_be_named_without_its_arguments_in_a_sentence_alone(uv: Path) -> None:
    sentence = commands("`cure compare` and `dvc exp apply`, `cure eval --out`, `-S alpha=1`, `x = 1`, `cure/cli.py`.")
    assert [str(one) for one in sentence][:3] == ["cure compare", "dvc exp apply", "cure eval --out"]
    assert len(sentence) == 4
    assert [refusal(one, uv) for one in sentence] == [None] * 4
    [block] = commands("```sh\ncure compare  # two results\n```\n")
    assert "Missing" in (refusal(block, uv) or "")


def test_a_script_is_taken_apart_as_a_shell_does() -> None:
    script = (
        "cd quickstart && A=1 cure compare results/{at,cure}-s0.json \\\n  --json  # both\ncure eval 'a b.pt' | less\n"
    )
    found = [(one.words, one.folder.name) for one in lines(script, True)]
    assert found == [
        (("cd", "quickstart"), ROOT.name),
        (("cure", "compare", "results/at-s0.json", "results/cure-s0.json", "--json"), "quickstart"),
        (("cure", "eval", "a b.pt"), "quickstart"),
        (("less",), "quickstart"),
    ]
