"""What `sketchseek train` reports while it trains: bars and sentences for people, lines of JSON for programs."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from app.cli.progress_bars import step_bars

if TYPE_CHECKING:
    from model.training.run.preparation import Report


@contextmanager
def reports(folder: Path, first: bool, as_json: bool) -> Iterator[Report]:
    """Write reports into the run's folder and show them. Only the first process does."""
    if not first:
        yield lambda _: None
        return
    from model.training.run.run_log import RunLog

    with ExitStack() as stack:
        record = stack.enter_context(RunLog(folder))
        shown = _print_line if as_json else stack.enter_context(_shown_to_a_person())

        def report(values: dict[str, Any]) -> None:
            record(values)
            shown(values)

        yield report


def _print_line(values: dict[str, Any]) -> None:
    print(json.dumps(values), flush=True)


@contextmanager
def _shown_to_a_person() -> Iterator[Report]:
    """Progress with loss and time left on stderr, findings above it, the result on stdout."""
    with step_bars() as bars:

        def show(values: dict[str, Any]) -> None:
            if "doing" in values:
                bars.advance(values["doing"], values["done"], values["total"])
            elif "step" in values:
                bars.advance("training", values["step"], values["of"], f"training, loss {values['loss']:.3f}")
            elif line := _sentence(values):
                bars.say(line)
            if "saved" in values:
                print(f"wrote {values['saved']} (sha256 {values['sha256']})")

        yield show


_UNUSED = {
    "unmatched": "--without names what is not there",
    "without_photos": "sketches without photos, which are not learnt from",
    "without_sketches": "photos without sketches, which are not learnt from",
}


def _sentence(values: dict[str, Any]) -> str:
    """A report as a sentence, if it is more than progress."""
    if "held_out" in values:
        names = ", ".join(values["held_out"])
        lines = [f"{values['train']} images to learn from; validation on {names or 'nothing: no score rule is chosen'}"]
        return "\n".join(
            lines + [f"{said}: {', '.join(values[key])}" for key, said in _UNUSED.items() if key in values]
        )
    if "left_out" in values:
        return f"left out {len(values['left_out'])} images (all in log.jsonl); the first: {values['left_out'][0]}"
    if "validated" in values:
        final = ", as it is kept" if values.get("final") else ""
        return (
            f"step {values['validated']}{final}: validation mAP@all {values['map_recall']:.3f} by the descriptor, "
            f"{values['map_relation']:.3f} by the relation"
        )
    if "calibrated" in values:
        return (
            f"kept step {values['calibrated']}; the score rule weighs the descriptor by {values['recall_share']:.1f}, "
            f"mAP@all {values['map_fused']:.3f}"
        )
    if values.get("text_tower") is False:
        return f"the sentence encoder will read texts, not CLIP's own text tower: {values['because']}"
    if values.get("text_map") is False:
        return f"the checkpoint cannot be searched by text: {values['because']}"
    return ""
