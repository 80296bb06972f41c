import runpy

from tests.paths import ROOT


def test_the_documented_sizes_are_those_that_the_script_counts():
    table = runpy.run_path(str(ROOT / "benchmarks" / "sizes.py"))["table"]()
    documented = (ROOT / "docs" / "checkpoints.md").read_text(encoding="utf-8")
    assert table in documented, "run `python benchmarks/sizes.py` and put its table into docs/checkpoints.md"


def test_the_upstream_pair_costs_what_its_layers_multiply():
    """Counted by hand: 197 tokens of width 768, feed-forward 1024, 49 cells of width 512, an MLP of 2401-343-49-1."""
    n, d = 197, 768
    projections = 3 * n * d * d
    attention = 2 * n * n * d
    finish = n * d * d + 2 * n * d * 1024
    cells = 49 * 4 * d * 512
    last = 49 * 49 * 512 + 2401 * 343 + 343 * 49 + 49
    pair = (2 * (projections + attention + finish + cells) + last) / 1e9
    counted = runpy.run_path(str(ROOT / "benchmarks" / "sizes.py"))["row"]("zse-vit-b16")
    assert counted[4:7] == [f"{pair:.3f}", f"{pair - projections / 1e9:.3f}", f"{pair - 2 * projections / 1e9:.3f}"]
