"""The version is known whether or not the package is installed."""

import shutil
import tomllib
from importlib import metadata

import pytest

import app.version
from app.main import create_app
from app.version import version
from tests.app.conftest import settings_for
from tests.paths import ROOT

VERSION = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]


@pytest.fixture
def _uninstalled(monkeypatch):
    def missing(name):
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "version", missing)


def test_an_installed_package_says_its_version():
    assert version() == metadata.version("sketchseek")


@pytest.mark.usefixtures("_uninstalled")
def test_a_source_tree_that_is_only_on_the_path_is_served_under_its_own_version(tmp_path):
    assert version() == VERSION
    assert create_app(settings_for(tmp_path)).version == VERSION


@pytest.mark.usefixtures("_uninstalled")
@pytest.mark.parametrize(
    "project",
    [None, "[project", "[tool.ruff]", '[project]\nname = "another"\nversion = "7"', "[project]\nname = 'sketchseek'"],
)
def test_a_folder_that_does_not_tell_is_no_reason_to_stop(tmp_path, monkeypatch, project):
    (tmp_path / "app").mkdir()
    copied = shutil.copy(app.version.__file__, tmp_path / "app")
    if project is not None:
        (tmp_path / "pyproject.toml").write_text(project)
    monkeypatch.setattr(app.version, "__file__", copied)
    assert version() == "unknown"
