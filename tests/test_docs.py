"""What the documentation tells people to type exists: make targets, commands, their options, files, pages, settings."""

import re
import shlex
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML
from typer.main import get_command

from app.cli import COMMANDS, build
from app.describe.endpoint import VARIABLES
from app.settings import Settings
from tests.paths import ROOT

PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "train").glob("*.md")])
PACKAGES = ("app", "index_builder", "model", "sketchseek_client")
FOLDERS = (*PACKAGES, "benchmarks", "deploy", "docs", "notebooks", "tests", "train")
TODAY = [page for page in PAGES if page.name != "CHANGELOG.md"]  # which names what is gone
SHELLS = {"", "console", "sh", "bash", "shell"}


def commands(page):
    """Every command line on a page: lines of fenced shell blocks and inline code, without prompts and comments."""
    text = page.read_text(encoding="utf-8")
    found = []
    for language, block in re.findall(r"^```(\w*)\n(.*?)^```", text, re.MULTILINE | re.DOTALL):
        if language in SHELLS:
            found += block.replace("\\\n", " ").splitlines()
    outside = re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL)
    found += re.findall(r"`([^`\n]+)`", outside)
    for line in found:
        try:
            words = shlex.split(line.removeprefix("$ "), comments=True)
        except ValueError:  # an apostrophe in inline code that is no command
            continue
        for part in split_at(words, {"&&", "|", ";"}):
            yield strip_variables(part)


def split_at(words, marks):
    part: list[str] = []
    for word in words:
        if word in marks:
            yield part
            part = []
        else:
            part.append(word)
    yield part


def strip_variables(words):
    while words and re.match(r"[A-Z_]+=", words[0]):
        words = words[1:]
    return words


def starting_with(*names):
    return [
        pytest.param(words[1:], id=f"{page.name}: {' '.join(words)}")
        for page in PAGES
        for words in commands(page)
        if words and Path(words[0]).name in names
    ]


def test_pages_name_commands_at_all():
    assert starting_with("make")
    assert starting_with("sketchseek")


@pytest.mark.parametrize("words", starting_with("make"))
def test_make_targets_and_variables_exist(words):
    makefile = (ROOT / "Makefile").read_text()
    for word in words:
        if "=" in word:
            assert re.search(rf"\b{word.split('=')[0]}\b", makefile), word
        else:
            assert re.search(rf"^{re.escape(word)}:", makefile, re.MULTILINE), word


RUN_BY_MAKE = re.findall(r"^\t.*-m pytest (.*)$", (ROOT / "Makefile").read_text(), re.MULTILINE)


def test_no_target_names_a_folder_and_a_file_in_it():
    """pytest would collect the folder alone, and so leave out a file whose name does not begin with `test_`."""
    for command in RUN_BY_MAKE:
        named = [Path(word) for word in command.split() if word.startswith("tests/")]
        assert not [one for one in named if set(one.parents) & set(named)], command


def test_targets_that_name_files_run_their_slow_tests_as_well():
    assert RUN_BY_MAKE
    for command in RUN_BY_MAKE:
        assert command.startswith('-m "" '), command


@pytest.mark.parametrize("words", starting_with("sketchseek"))
def test_commands_and_options_exist(words):
    check_command(words)


def commands_of(command: Any) -> dict[str, Any]:
    """The commands below one, none for a leaf."""
    return getattr(command, "commands", {})


def check_command(words):
    words = [word for word in words if word not in {"...", "COMMAND"}]
    if not words or words[0].startswith("-"):
        return
    assert words[0] in COMMANDS
    command = commands_of(get_command(build(words[0])))[words[0]]
    rest = words[1:]
    while rest and commands_of(command) and not rest[0].startswith("-"):
        name, *rest = rest
        for alternative in name.split("|"):
            assert alternative in commands_of(command), name
        command = commands_of(command)[name.split("|")[0]]
    known = {option for parameter in command.params for option in (*parameter.opts, *parameter.secondary_opts)}
    known.add("--help")
    for word in rest:
        if word.startswith("--"):
            assert word.split("=")[0] in known, word


@pytest.mark.parametrize("words", starting_with("docker"))
def test_compose_profiles_and_services_exist(words):
    if words[:1] != ["compose"]:
        return
    services = YAML(typ="safe").load(ROOT / "docker-compose.yml")["services"]
    profiles = {name for service in services.values() for name in service["profiles"]}
    if "--profile" in words:
        assert words[words.index("--profile") + 1] in profiles
    if "run" in words or "exec" in words:
        after = words[words.index("run" if "run" in words else "exec") + 1 :]
        service, *command = [word for word in after if word not in {"--rm", "-T", "-d"}]
        assert service in services
        check_command(command[1:] if command[:1] == ["sketchseek"] else command)


@pytest.mark.parametrize("page", TODAY, ids=lambda page: page.name)
def test_files_that_pages_name_exist(page):
    """In inline code; NAME stands for what the reader chooses, and results are not kept."""
    named = re.findall(rf"`((?:{'|'.join(FOLDERS)})/[\w./*-]*)(?:::\w+)?`", page.read_text(encoding="utf-8"))
    missing = [name for name in named if not re.search("NAME|results/", name) and not list(ROOT.glob(name))]
    assert not missing


@pytest.mark.parametrize("page", TODAY, ids=lambda page: page.name)
def test_modules_that_pages_name_exist(page):
    """`model.explain.occlusion` is a module, or a name that `model/explain/__init__.py` or the module above it has."""
    text = page.read_text(encoding="utf-8")
    one = rf"(?:{'|'.join(PACKAGES)})"
    named = re.findall(rf"`({one}(?:\.\w+)+)[`(]", text)
    named += re.findall(rf"^(?:python -m|from) ({one}(?:\.\w+)*)", text, re.MULTILINE)
    assert not [name for name in named if not is_known(name)]


def is_known(name: str) -> bool:
    """Whether a dotted name is a module, or a word in the module above it."""
    path = ROOT / Path(*name.split("."))
    if path.is_dir() or path.with_suffix(".py").is_file():
        return True
    above, last = path.parent, path.name
    module = above / "__init__.py" if above.is_dir() else above.with_suffix(".py")
    return module.is_file() and re.search(rf"\b{last}\b", module.read_text(encoding="utf-8")) is not None


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)#\s]*)(?:#[^)]*)?\)", page.read_text(encoding="utf-8")):
        if target and "://" not in target and not target.startswith("mailto:"):
            assert (page.parent / target).exists(), target


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_anchors_exist(page):
    for target, anchor in re.findall(r"\]\(([^)#\s]*)#([^)]+)\)", page.read_text(encoding="utf-8")):
        if "://" in target:
            continue
        other = (page.parent / target if target else page).read_text(encoding="utf-8")
        headings = re.findall(r"^#+ (.+)$", other, re.MULTILINE)
        assert anchor in {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_settings_that_pages_name_exist(page):
    known = {f"SKETCHSEEK_{name.upper()}" for name in Settings.model_fields} | set(VARIABLES)
    named = set(re.findall(r"\bSKETCHSEEK_[A-Z_]*[A-Z]\b", page.read_text(encoding="utf-8")))
    assert named <= known


def test_files_that_the_readme_sends_exist():
    sent = re.findall(r"@([\w./-]+\.\w+)", (ROOT / "README.md").read_text())
    assert sent
    assert all((ROOT / name).is_file() for name in sent)


def test_every_page_is_listed_in_the_index():
    index = (ROOT / "docs/index.md").read_text()
    for page in (ROOT / "docs").rglob("*.md"):
        name = page.relative_to(ROOT / "docs").as_posix()
        assert name == "index.md" or f"({name}" in index, f"docs/index.md does not list {name}"


def test_every_recipe_is_listed():
    listed = set(re.findall(r"^\| `(\w+\.py)` \|", (ROOT / "train" / "README.md").read_text(), re.MULTILINE))
    assert listed == {script.name for script in (ROOT / "train").glob("*.py")}


SENTENCE = re.compile(r"(?<=[.!?])[*_)\"']*\s+(?=[A-Z\[`*(\"'\d])")
WORDS = {"zse-lite.md": 22}  # a sentence on average, where a page may not have 14


def sentences(text: str) -> list[str]:
    """The prose of a page: no code, tables, headings, pictures or comments; a sentence ends at its mark or its item."""
    text = re.sub(r"^```.*?^```|<!--.*?-->", "", text, flags=re.MULTILINE | re.DOTALL)
    lines = ["" if re.match(r"\||#|\s*!\[", line) else line for line in text.splitlines()]
    items = re.split(r"\n\s*\n|\n(?=\s*(?:[*-]|\d+\.) )", "\n".join(lines))
    prose = (" ".join(re.sub(r"^\s*(?:[*-]|\d+\.)\s+", "", item).split()) for item in items)
    short = (re.sub(r"`[^`]*`", "Code", re.sub(r"\]\([^)]*\)", "]", one)) for one in prose)
    return [sentence for one in short for sentence in SENTENCE.split(one) if re.search(r"\w", sentence)]


def test_sentences_are_told_apart():
    text = "# Title\n\nOne `a. B` here. Two [x](y. Z) there!\n\n* Three\n  goes on.\n* 4.5 is one.\n\n| no | table |\n"
    assert sentences(text) == ["One Code here.", "Two [x] there!", "Three goes on.", "4.5 is one."]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_sentences_are_short(page):
    """One thought each. The average drifts before single sentences do."""
    counts = [len(re.findall(r"\w[\w'.,%-]*", one)) for one in sentences(page.read_text(encoding="utf-8"))]
    assert sum(counts) / len(counts) < WORDS.get(page.name, 14)
    assert max(counts) <= 3 * WORDS.get(page.name, 14)


def recipes() -> list[Any]:
    """Each list of files in CONTRIBUTING.md, by its heading."""
    page = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    chapter = page.split("## Make a change")[1].split("\n## ")[0]
    return [pytest.param(one, id=one.splitlines()[0]) for one in chapter.split("\n### ")[1:]]


@pytest.mark.parametrize("recipe", recipes())
def test_names_in_the_lists_of_files_are_in_those_files(recipe):
    named = re.findall(r"`([\w./-]+)`", recipe)
    files = [ROOT / name for name in named if (ROOT / name).is_file()]
    assert files
    text = "\n".join(file.read_text(encoding="utf-8") for file in files)
    words = {name for name in named if re.fullmatch(r"\w+", name) and name != "main"}
    assert not {word for word in words if not re.search(rf"\b{word}\b", text)}
