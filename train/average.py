"""The mean of the weights of runs that started alike, whitened anew, with patches to match and a score rule.

    python train/average.py TARGET RUN... --data DATA --without test.txt

Runs that differ only in their samples (`variation`), steps or recipe begin with the same weights, and the mean of what
they end with ranks better than any of them (Wortsman et al., ICML 2022, "Model soups"). Whitening, familiar photos
and patches are fitted on training categories; the score rule is chosen on the validation categories of
`train/zse_lite.py`, by what a person sees first.
"""

import argparse
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from zse_lite import VALIDATION

from model.checkpoints.files import find_checkpoint, load_checkpoint, read_checkpoint, save_checkpoint
from model.data.folders import read_folders
from model.data.splits import read_category_list, reserved_categories
from model.evaluation.seen import joined_names, learnt_from
from model.networks.zse_sbir import ZseNetwork
from model.training.material.holdout import thinned
from model.training.material.material import load_material
from model.training.run.fit_whitening import fit_whitening
from model.training.run.run import CONFIG, fits_half, reached
from model.training.run.run_configuration import differences
from model.training.run.validation import validate


def averaged(paths: list[Path]) -> ZseNetwork:
    """The network of the first checkpoint with the mean of all weights.

    Raises:
        SystemExit: the runs did not start alike, or are of another kind of network.
    """
    check_starts(paths)
    networks = [load_checkpoint(path, dtype="float32", trainable=True) for path in paths]
    first = networks[0]
    if not isinstance(first, ZseNetwork):
        raise SystemExit("this recipe averages ZSE-SBIR networks")
    states = [network.state_dict() for network in networks]
    mean = {
        name: torch.stack([state[name] for state in states]).mean(dim=0) if value.is_floating_point() else value
        for name, value in states[0].items()
    }
    first.load_state_dict(mean)
    return first


def check_starts(paths: list[Path]) -> None:
    """Refuse runs that started from different weights, as far as they tell: their mean ranks like no run at all.

    Raises:
        SystemExit: names two such runs, and what differs.
    """
    first = start_of(paths[0])
    for path in paths[1:]:
        other = start_of(path)
        known = first.keys() & other.keys()
        one, two = ({key: start[key] for key in known} for start in (first, other))
        different = sorted(differences(one, two))
        if different:
            raise SystemExit(
                f"{path} and {paths[0]} did not start alike ({', '.join(different[:5])}): their weights have no mean"
            )


def start_of(path: Path) -> dict[str, Any]:
    """What a run's first weights depend on, as its checkpoint says, and its folder where the checkpoint lies there."""
    metadata, _ = read_checkpoint(find_checkpoint(path))
    network = json.loads(metadata["config"])
    del network["score"]  # it is chosen after training
    start: dict[str, Any] = {"network": network}
    story = json.loads(metadata.get("training", "{}"))
    if "seed" in story:
        start["seed"] = story["seed"]
    run = path.parent / CONFIG
    if run.is_file():
        start |= json.loads(run.read_text(encoding="utf-8"))["start"]
    return start


def learnt_by_all(paths: list[Path], categories: tuple[str, ...]) -> list[str] | None:
    """The categories that any of the runs met, and these; None if a run does not say."""
    known = [learnt_from(path, categories) for path in paths]
    return joined_names(*(names for names in known if names)) if None not in known else None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("target", type=Path)
    parser.add_argument("runs", type=Path, nargs="+", help="checkpoints that started alike")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--without", type=Path, action="append", default=[])
    parser.add_argument("--cache", type=Path)
    parser.add_argument("--seed", type=int, default=2021)
    options = parser.parse_args()

    network = averaged(options.runs).eval()
    left_out = [*reserved_categories(), *(name for file in options.without for name in read_category_list(file))]
    seen = read_folders(options.data).without(left_out)
    train = seen.without(VALIDATION)
    side = network.preprocess.image_size
    material, held_out = (
        load_material(part, None, network.preprocess, side=side, device=network.device, cache=options.cache)
        for part in (thinned(train, 20, 20), replace(seen.only(VALIDATION), name="validation"))
    )
    fit_whitening(network, material.sketches, material.photos, options.seed)
    chosen = validate(network, held_out.sketches, held_out.photos).choose_rule()
    network.config = replace(network.config, score=chosen.rule)
    print(json.dumps(reached(chosen)))
    story = {
        "training": json.dumps({"categories": learnt_by_all(options.runs, train.categories), "runs": len(options.runs)})
    }
    digest = save_checkpoint(network, options.target, torch.float16 if fits_half(network) else None, story)
    print(json.dumps({"saved": str(options.target), "sha256": digest}))


if __name__ == "__main__":
    main()
