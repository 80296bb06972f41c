"""Rooms are what docs/architecture.md says: the same folders, the same sentences, no import that it does not name."""

import ast
import re
import sys
from pathlib import Path

import pytest

from app.search.rerank_stage import RerankStage
from app.search.searcher import TwoStageSearcher
from tests.paths import ROOT

PACKAGES = ("sketchseek_client", "model", "index_builder", "app")
PAGE = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
ROW = re.compile(r"^\| `([\w/]+)/` \| (.+?) \| (.+?) \|$", re.MULTILINE)
ROOMS = {room.replace("/", "."): (what, imports) for room, what, imports in ROW.findall(PAGE)}
CLIENT_NEEDS = {"httpx2", "pydantic"}
THIRD_PARTY = {"model": {"faiss", "lance", "fastapi", "starlette", "httpx2"}, "index_builder": {"fastapi", "starlette"}}
PLAIN_FOLDERS = {"app.web", "model.data.splits", "model.data.descriptions"}  # files, no modules
DOORS = {"index_builder/__main__.py"}  # entry points: nobody imports them


def allowed(room):
    """Rooms and packages that a room may import, as the page names them."""
    return set(re.findall(r"`([\w.]+)`", ROOMS[room][1]))


def room_of(module):
    """The room a module lies in, or the package for the words beside its rooms."""
    parts = module.split(".")
    while not (ROOT / Path(*parts)).is_dir() or ".".join(parts) in PLAIN_FOLDERS:
        parts.pop()
    return ".".join(parts)


def imports(path):
    """Every module that a file names in an import, types included."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            for alias in node.names:
                below = f"{node.module}.{alias.name}"
                path_below = ROOT / Path(*below.split("."))
                yield below if path_below.is_dir() or path_below.with_suffix(".py").is_file() else node.module


def files_of(package):
    return [path for path in sorted((ROOT / package).rglob("*.py")) if str(path.relative_to(ROOT)) not in DOORS]


def test_the_page_names_every_room_and_no_other():
    folders = {
        ".".join(path.parent.relative_to(ROOT).parts)
        for package in PACKAGES
        for path in (ROOT / package).rglob("*.py")
        if path.parent != ROOT / package
    }
    assert set(ROOMS) == folders


@pytest.mark.parametrize("room", sorted(ROOMS))
def test_a_room_says_what_the_page_says(room):
    text = ast.get_docstring(ast.parse((ROOT / Path(*room.split(".")) / "__init__.py").read_text(encoding="utf-8")))
    first, second = " ".join((text or "").split("\n\n")[0].split()), " ".join((text or "").split("\n\n")[1].split())
    what, named = ROOMS[room]
    assert first == what
    assert second == f"Imports {named}."


@pytest.mark.parametrize("package", PACKAGES)
def test_no_room_imports_what_its_page_does_not_name(package):
    wrong = []
    for path in files_of(package):
        room = ".".join(path.parent.relative_to(ROOT).parts)
        if room == package:
            continue
        names = allowed(room) | {package, room}
        for module in imports(path):
            if module.split(".")[0] not in PACKAGES:
                continue
            target = room_of(module)
            inside_package_named = target.split(".")[0] in names - {package}
            if target not in names and not inside_package_named:
                wrong.append(f"{path.relative_to(ROOT)} imports {module}")
    assert not wrong


@pytest.mark.parametrize("package", PACKAGES)
def test_no_package_imports_upwards(package):
    above = set(PACKAGES[PACKAGES.index(package) + 1 :]) | THIRD_PARTY.get(package, set())
    wrong = [
        f"{path.relative_to(ROOT)} imports {module}"
        for path in files_of(package)
        for module in imports(path)
        if module.split(".")[0] in above
    ]
    assert not wrong


def test_the_client_needs_two_packages_and_app_alone_knows_it():
    needed = {module.split(".")[0] for path in files_of("sketchseek_client") for module in imports(path)}
    assert needed - sys.stdlib_module_names - {"sketchseek_client"} == CLIENT_NEEDS
    for package in ("model", "index_builder"):
        modules = {module for path in files_of(package) for module in imports(path)}
        assert not [module for module in modules if module.split(".")[0] == "sketchseek_client"]


def test_rooms_name_no_room_in_circles():
    def reaches(room, target, seen):
        return any(
            near == target or (near not in seen and reaches(near, target, seen | {near}))
            for near in allowed(room)
            if near in ROOMS
        )

    assert not [room for room in ROOMS if reaches(room, room, set())]


def test_every_import_that_a_page_names_is_used():
    unused = []
    for room in ROOMS:
        folder = ROOT / Path(*room.split("."))
        targets = {room_of(m) for path in folder.glob("*.py") for m in imports(path) if m.split(".")[0] in PACKAGES}
        targets |= {target.split(".")[0] for target in targets}
        unused += [f"{room} names {name}" for name in allowed(room) if name not in targets]
    assert not unused


STEP = re.compile(r"^\| `([\w/]+\.py)` \| `([\w.]+)` \| (.+) \|$", re.MULTILINE)


def test_every_step_of_a_path_names_a_function_of_its_file():
    steps = STEP.findall(PAGE)
    assert len(steps) > 20
    for file, name, _ in steps:
        assert set(name.split(".")) <= names_in(file), f"{file} has no {name}"


def names_in(file):
    """Functions and classes that a file defines."""
    return {getattr(node, "name", None) for node in ast.walk(ast.parse((ROOT / file).read_text(encoding="utf-8")))}


def test_names_in_the_page_are_defined_in_the_files_it_names():
    """Such as "`open_photo` in `app/service/files/photo_files.py`", in tables and in text."""
    places = re.findall(r"`([\w.]+)` in `([\w/]+\.py)`", PAGE)
    assert len(places) > 5
    for name, file in places:
        assert set(name.split(".")) <= names_in(file), f"{file} has no {name}"


def test_what_a_step_calls_is_known_to_its_file_or_to_one_it_names():
    for file, _, does in STEP.findall(PAGE):
        named = [file, *re.findall(r"`([\w/]+\.py)`", does)]
        text = "\n".join((ROOT / one).read_text(encoding="utf-8") for one in named)
        for name in re.findall(r"`(\w+)`", does):
            assert re.search(rf"\b{name}\b", text), f"{file} does not know {name}"


def test_the_page_names_every_folder_that_holds_code():
    listed = set(re.findall(r"^\| `(\w+)/` \| [^|]+ \|$", PAGE, re.MULTILINE))
    folders = {path.parent.name for path in ROOT.glob("*/*") if path.suffix in {".py", ".ipynb", ".yml", ".md"}}
    assert listed | set(PACKAGES) >= {name for name in folders if name.isidentifier()}


def test_the_calls_that_the_page_lists_exist():
    kinds = {"searcher": TwoStageSearcher, "reranking": RerankStage}
    called = re.findall(r"^\| `(searcher|reranking)\.(\w+)\(", PAGE, re.MULTILINE)
    assert [name for _, name in called] == ["prepare", "encode", "ask", "recall", "tokens", "relate", "order"]
    assert all(name in vars(kinds[kind]) for kind, name in called)


def test_what_the_page_imports_can_be_imported():
    (block,) = re.findall(r"^```python\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    for line in block.splitlines():
        if line.startswith("from "):
            exec(line, {})  # noqa: S102 - our own page
