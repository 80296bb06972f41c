"""Fuzzes what strangers' bytes go through, guided by coverage (atheris), each target in a process of its own.

    python -m tests.fuzz [--seconds 600] [uploads strokes gallery checkpoints]

A crash, an error that is not ours, more than a minute or more than --megabytes of memory ends a target; the bytes
that did it are put into tests/fuzz/corpus/TARGET, where tests/fuzz/test_corpus.py finds them, and the exit code is 1.
"""

from __future__ import annotations

import argparse
import os
import re
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

CORPUS = Path(__file__).parent / "corpus"
NAMES = ("uploads", "strokes", "gallery", "checkpoints")


def main() -> int:
    """Fuzz each target in turn and print a line for each."""
    if sys.argv[1:2] == ["--child"]:
        return fuzz(sys.argv[2], sys.argv[3:])
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("targets", nargs="*", metavar="TARGET", help=" ".join(NAMES))
    parser.add_argument("--seconds", type=int, default=600, help="for each target")
    parser.add_argument("--megabytes", type=int, default=2000, help="that one process may take")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--corpus", type=Path, help="keep what widened the coverage here, and go on from it")
    arguments = parser.parse_args()
    if unknown := set(arguments.targets) - set(NAMES):
        parser.error(f"there is no target {' '.join(unknown)}; there are {' '.join(NAMES)}")
    sys.stdout.write(f"{'target':12} {'inputs':>9} {'per s':>7} {'coverage':>9} {'peak MB':>8}  outcome\n")
    broken = 0
    for name in arguments.targets or NAMES:
        with tempfile.TemporaryDirectory() as scratch:
            broken += not run(name, arguments, arguments.corpus / name if arguments.corpus else Path(scratch))
    return int(broken > 0)


def run(name: str, arguments: argparse.Namespace, corpus: Path) -> bool:
    """Fuzz one target; whether nothing broke."""
    from tests.fuzz.seeds import seeds

    corpus.mkdir(parents=True, exist_ok=True)
    found = CORPUS / name
    found.mkdir(parents=True, exist_ok=True)
    for number, seed in enumerate(seeds(name)):
        (corpus / f"seed-{number}").write_bytes(seed)
    options = [f"-max_total_time={arguments.seconds}", "-timeout=60", f"-rss_limit_mb={arguments.megabytes}"]
    options += [f"-seed={arguments.seed}", f"-artifact_prefix={found}/", "-print_final_stats=1", "-max_len=20000"]
    command = [sys.executable, "-m", "tests.fuzz", "--child", name, *options, str(corpus), str(found)]
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        errors="replace",
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        check=False,
    )
    output = done.stdout + done.stderr
    facts = {key: int(value) for key, value in re.findall(r"stat::(\w+):\s+(\d+)", output)}
    coverage = re.findall(r" cov: (\d+) ", output)[-1:] or ["?"]
    sys.stdout.write(
        f"{name:12} {facts.get('number_of_executed_units', 0):>9} {facts.get('average_exec_per_sec', 0):>7} "
        f"{coverage[0]:>9} {facts.get('peak_rss_mb', 0):>8}  {'no crash' if done.returncode == 0 else 'BROKEN'}\n"
    )
    sys.stdout.flush()
    if done.returncode:
        sys.stderr.write(done.stdout[-3000:] + done.stderr[-3000:])  # atheris tells the exception on stdout
    return done.returncode == 0


def fuzz(name: str, options: list[str]) -> int:
    """The child: feed one target for ever, or as long as the options say."""
    import atheris

    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    # The clean-up compares arrays, and what atheris puts around such a comparison keeps them for ever (0.3 MB each).
    with atheris.instrument_imports(
        include=["app", "model", "index_builder"], exclude=["model.images.cleanup.sketch_cleanup"]
    ):
        from index_builder.store import checksums
        from tests.fuzz.targets import TARGETS
    checksums.TAIL = 1600  # what the few photos' files say of themselves; their pages are to be open to damage here
    target = TARGETS[name]
    target(b"")  # what is built once is built before anything is measured
    atheris.Setup([sys.argv[0], *options], target)
    atheris.Fuzz()
    return 0


if __name__ == "__main__":
    sys.exit(main())
