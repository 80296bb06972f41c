"""Packages from the npm registry, fetched by name and checked by SHA-512. None of their code is run."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import tarfile
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from model.errors import SketchseekError

TIMEOUT_S = 600.0


class NpmError(SketchseekError):
    """npm is missing, or did not give the packages that were asked for."""

    code = "npm_unavailable"


class PackageContentError(SketchseekError):
    """A package does not hold what it should."""

    code = "package_content"


@dataclass(frozen=True)
class NpmPackage:
    """A package pinned to its content: name@version, and the SHA-512 (hexadecimal) of its archive."""

    spec: str
    sha512: str


def fetch_packages(packages: Iterable[NpmPackage], into: Path) -> dict[NpmPackage, Path]:
    """The packages' archives (.tgz), downloaded to a new folder inside `into`.

    Raises:
        NpmError: npm is not installed, reached no registry, or gave another archive than the one expected.
    """
    wanted = list(packages)
    npm = shutil.which("npm")
    if npm is None:
        raise NpmError("npm is not installed, and the full sample gallery comes from its registry.")
    folder = Path(tempfile.mkdtemp(dir=into))
    command = [npm, "pack", "--loglevel=error", "--fetch-retries=1", "--ignore-scripts", *(p.spec for p in wanted)]
    try:
        subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True, timeout=TIMEOUT_S)  # noqa: S603
    except subprocess.TimeoutExpired:
        raise NpmError(f"npm did not get the sample gallery's packages within {TIMEOUT_S:.0f} s.") from None
    except subprocess.CalledProcessError as error:
        reason = str(error.stderr or error).strip().partition("\n")[0].removeprefix("npm error ")
        raise NpmError(f"npm could not get the sample gallery's packages ({reason}).") from None
    except OSError as error:
        raise NpmError(f"npm could not be run ({error.strerror}).") from None
    return {package: _archive(package, folder) for package in wanted}


def _archive(package: NpmPackage, folder: Path) -> Path:
    """What `npm pack` left of a package, named after it: "@a/b@1.0" is a-b-1.0.tgz."""
    name, _, version = package.spec.rpartition("@")
    archive = folder / f"{name.removeprefix('@').replace('/', '-')}-{version}.tgz"
    if not archive.is_file():
        raise NpmError(f"npm left no archive of {package.spec}.")
    if hashlib.sha512(archive.read_bytes()).hexdigest() != package.sha512:
        raise NpmError(f"npm's archive of {package.spec} is not the one expected (its SHA-512 differs).")
    return archive


def packed_file(archive: tarfile.TarFile, name: str) -> IO[bytes]:
    """A file of an archive, to be read.

    Raises:
        PackageContentError: there is none of that name.
    """
    try:
        stream = archive.extractfile(name)
    except KeyError:
        stream = None
    if stream is None:
        raise PackageContentError(f"The package holds no {name}.")
    return stream
