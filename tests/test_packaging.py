"""What make, pip, the container and continuous integration build from: lint, schema, pins and completeness."""

import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version
from ruamel.yaml import YAML

from app.addresses import is_local_host
from app.settings import Settings
from tests.paths import ROOT

BIN = Path(sys.executable).parent
PACKAGES = ("app", "index_builder", "model", "sketchseek_client")


def project():
    return tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def pins():
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    return [line for line in lines if line and not line.startswith("#")]


def run(*command, cwd=ROOT, **options):
    done = subprocess.run([str(c) for c in command], cwd=cwd, capture_output=True, text=True, check=False, **options)
    return done.returncode, done.stdout + done.stderr


def loaded(file):
    return YAML(typ="safe").load(ROOT / file)


def compose():
    return loaded("docker-compose.yml")


def setting_names():
    return {f"SKETCHSEEK_{name.upper()}" for name in Settings.model_fields}


# --- pins


def test_pins_are_exact_sorted_and_named_once():
    names = []
    for line in pins():
        match = re.fullmatch(r"([a-z0-9][a-z0-9-]*)==([0-9][0-9A-Za-z.]*)", line)
        assert match, f"{line!r} is no exact pin without a local version"
        names.append(match[1])
    assert names == sorted(set(names))


def closure(roots):
    """Every package that installing `roots` brings, as far as this environment holds it, by canonical name."""
    found: dict[str, str] = {}
    seen: set[tuple[str, frozenset[str]]] = set()
    queue: list[tuple[Requirement, frozenset[str]]] = [(Requirement(root), frozenset()) for root in roots]
    while queue:
        requirement, context = queue.pop()
        name = canonicalize_name(requirement.name)
        if requirement.marker and not any(requirement.marker.evaluate({"extra": e}) for e in context or {""}):
            continue
        extras = frozenset(requirement.extras)
        if (name, extras) in seen:
            continue
        seen.add((name, extras))
        try:
            installed = distribution(name)
        except PackageNotFoundError:
            continue
        found[name] = installed.version
        queue += [(Requirement(r), extras | {""}) for r in installed.requires or ()]
    return found


def test_everything_that_is_installed_is_pinned_and_nothing_else_is():
    settings = project()
    roots = settings["dependencies"] + [r for extra in settings["optional-dependencies"].values() for r in extra]
    found = closure(roots)
    pinned = dict(pin.split("==") for pin in pins())
    unpinned = set(found) - set(pinned) - {"pip"}
    assert not unpinned
    installed_unneeded = {name for name in set(pinned) - set(found) if is_installed(name) and not is_cuda(name)}
    assert not installed_unneeded


def is_installed(name):
    try:
        distribution(name)
    except PackageNotFoundError:
        return False
    return True


def is_cuda(name):
    return name.startswith(("nvidia-", "cuda-", "triton"))


def test_pins_satisfy_the_ranges_that_are_declared():
    settings = project()
    pinned = dict(pin.split("==") for pin in pins())
    for extra in [settings["dependencies"], *settings["optional-dependencies"].values()]:
        for text in extra:
            requirement = Requirement(text)
            version = pinned[canonicalize_name(requirement.name)]
            assert requirement.specifier.contains(Version(version)), text


def test_torch_is_pinned_to_the_version_every_build_of_it_shares():
    assert "torch==2.13.0" in pins()


# --- the wheel


def test_a_wheel_holds_every_file_of_the_packages(tmp_path):
    source = tmp_path / "source"
    source.mkdir()
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    for package in PACKAGES:
        shutil.copytree(ROOT / package, source / package, ignore=shutil.ignore_patterns("__pycache__", ".*"))
    build = "from setuptools import build_meta; build_meta.build_wheel('..')"  # what pip does, in one process
    code, output = run(sys.executable, "-c", build, cwd=source)
    assert code == 0, output
    (wheel,) = tmp_path.glob("*.whl")
    inside = set(zipfile.ZipFile(wheel).namelist())
    ours = {p.relative_to(source).as_posix() for n in PACKAGES for p in (source / n).rglob("*") if p.is_file()}
    assert {name for name in ours if not name.startswith("build/")} <= inside


# --- make


def make(*arguments, **variables):
    return run("make", "--no-print-directory", "--dry-run", *arguments, *(f"{k}={v}" for k, v in variables.items()))


def test_serve_takes_a_folder_whose_name_starts_with_a_tilde_and_holds_blanks(monkeypatch):
    monkeypatch.setenv("HOME", "/home/somebody")
    code, output = make("serve", PHOTOS="~/My Pictures", PORT="9000", EXTRA="cpu")
    assert code == 0, output
    assert '--watch "/home/somebody/My Pictures"' in output
    assert '--port "9000"' in output


def test_each_folder_of_photos_has_a_gallery_of_its_own():
    served = [make("serve", PHOTOS=photos, EXTRA="cpu")[1] for photos in ("/a", "/b", "")]
    galleries = {gallery for output in served for gallery in re.findall(r'--gallery "([^"]+)"', output)}
    assert len(galleries) == 3


def test_continuous_integration_runs_the_command_that_the_readme_names():
    assert re.search(r'^make "\$\{@:-test\}"$', (ROOT / ".ci/run").read_text(), re.MULTILINE)
    assert "make test" in (ROOT / "README.md").read_text()


def test_the_workflow_runs_the_same_on_every_python_that_is_supported():
    job = loaded(".github/workflows/test.yml")["jobs"]["test"]
    versions = job["strategy"]["matrix"]["python"]
    assert [step["run"] for step in job["steps"] if "run" in step] == [".ci/run"]
    assert project()["requires-python"] == f">={versions[0]}"
    assert {"3.11", "3.12", "3.13"} <= set(versions)


def test_what_make_test_leaves_out_is_run_by_make_long_every_week():
    options = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["pytest"]["ini_options"]["addopts"]
    assert "-m 'not slow'" in options
    assert " -m slow" in make("long", EXTRA="cpu")[1]
    weekly = loaded(".github/workflows/long.yml")
    assert weekly["on"]["schedule"]
    assert [step["run"] for step in weekly["jobs"]["long"]["steps"] if "run" in step] == [".ci/run long"]


def test_hooks_use_the_tools_that_make_test_installs():
    """A hook with a version of its own would one day disagree with `make test`."""
    developing = {Requirement(text).name for text in project()["optional-dependencies"]["dev"]}
    for repository in loaded(".pre-commit-config.yaml")["repos"]:
        assert repository["repo"] == "local"
        for hook in repository["hooks"]:
            folder, tool = hook["entry"].split()[0].rsplit("/", 1)
            assert (hook["language"], folder) == ("system", ".venv/bin")
            assert tool in developing


def test_the_citation_names_this_version():
    assert loaded("CITATION.cff")["version"] == project()["version"]


def test_without_python_make_says_what_it_needs(tmp_path):
    code, output = run("make", f"{tmp_path}/venv/bin/python", f"VENV={tmp_path}/venv", "PYTHON=")
    assert code != 0
    assert "Python 3.11 or newer is needed" in output


# --- the container


def test_hadolint_finds_nothing_in_the_dockerfile():
    code, output = run(BIN / "hadolint", "Dockerfile")
    assert (code, output) == (0, "")


@pytest.mark.parametrize(
    ("schema", "file"),
    [
        ("compose-spec", "docker-compose.yml"),
        ("github-workflows", ".github/workflows/test.yml"),
        ("github-workflows", ".github/workflows/long.yml"),
        ("github-issue-forms", ".github/ISSUE_TEMPLATE/bug.yml"),
        ("github-issue-forms", ".github/ISSUE_TEMPLATE/idea.yml"),
        ("citation-file-format", "CITATION.cff"),
    ],
)
def test_a_file_fits_its_schema(schema, file):
    code, output = run(BIN / "check-jsonschema", "--builtin-schema", f"vendor.{schema}", file)
    assert code == 0, output


def test_every_service_is_locked_down():
    for name, service in compose()["services"].items():
        assert service["read_only"] is True, name
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        if service["image"].startswith("sketchseek:"):
            assert service["user"] == "${PUID:-10001}:${PGID:-10001}", name  # names that no shell keeps for itself
        assert service.get("cap_add", []) == (["NET_BIND_SERVICE"] if name.endswith("balancer") else []), name
        assert all(port.startswith("${ADDRESS:-127.0.0.1}:") for port in service.get("ports", [])), name


def test_the_container_answers_to_names_of_this_machine_alone_unless_told_otherwise():
    """It listens to all addresses inside, so that it cannot know that it is published here alone."""
    served = [one for one in compose()["services"].values() if is_service(one)]
    assert len(served) == 8
    for service in served:
        value = service["environment"]["SKETCHSEEK_ALLOWED_HOSTS"]
        default = re.fullmatch(r"\$\{SKETCHSEEK_ALLOWED_HOSTS-(.+)\}", value)
        assert default, value
        assert all(is_local_host(name) for name in default[1].split(","))


def is_service(entry):
    """Whether a part of the compose file runs `sketchseek serve`."""
    return entry["image"].startswith("sketchseek:") and "command" not in entry


def test_the_services_of_each_profile_and_the_cpu_by_default():
    profiles = [service["profiles"] for service in compose()["services"].values() if is_service(service)]
    assert sorted(profiles) == [["cpu"], ["gpu"], *[["gpu-several"]] * 4, ["scale"], ["scale"]]
    assert "COMPOSE_PROFILES=cpu" in (ROOT / ".env").read_text().splitlines()


def test_the_container_names_only_settings_that_exist():
    named = set(re.findall(r"\bSKETCHSEEK_[A-Z_]+", (ROOT / "Dockerfile").read_text()))
    for service in compose()["services"].values():
        named |= {name for name in service["environment"] if name.startswith("SKETCHSEEK_")}
    assert named
    assert named <= setting_names()


def test_the_image_runs_as_nobody_and_lets_idle_threads_sleep():
    text = (ROOT / "Dockerfile").read_text()
    final = text[text.rindex("\nFROM ") :]
    assert re.search(r"^USER 10001:10001$", final, re.MULTILINE)
    assert "OMP_WAIT_POLICY=PASSIVE" in final
    assert re.search(r'^HEALTHCHECK .*\n +CMD \["python3", "-m", "app.healthcheck"\]$', final, re.MULTILINE)
    assert "-m 0777 /data" in final, "a new volume takes this mode, so that any user may write to it"
    assert re.search(r'^ENTRYPOINT \["sketchseek"\]$', final, re.MULTILINE)


def test_what_the_dockerfile_copies_passes_the_ignore_file():
    allowed = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    copies = re.findall(r"^COPY (?!--from)(.+) \S+$", (ROOT / "Dockerfile").read_text(), re.MULTILINE)
    copied = {name for line in copies for name in line.split()}
    assert copied == allowed
