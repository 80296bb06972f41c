"""Keeps what a run reports in its folder: log.jsonl, and curves for TensorBoard where that is installed."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any, Self

EVERY = 20  # steps between two lines of losses


class RunLog:
    """A `Report` that writes into a run's folder; a continued run's lines follow those written before.

    Args:
        folder: of the run. Curves go to its subfolder "tensorboard".
        every: steps between two lines of losses; everything else is always written.
    """

    def __init__(self, folder: Path, every: int = EVERY) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._every = every
        self._log = (folder / "log.jsonl").open("a", encoding="utf-8")
        self._curves: Any = None
        self._step = 0
        self._started = time.perf_counter()

    def __call__(self, values: dict[str, Any]) -> None:
        """Write one report."""
        if "doing" in values:
            return
        step = values.get("step")
        if step is not None:
            self._step = step
            if step % self._every and step != values["of"]:
                return
        minutes = round((time.perf_counter() - self._started) / 60, 2)
        self._log.write(json.dumps({**values, "minutes": minutes}) + "\n")
        self._log.flush()
        self._draw(values)

    def close(self) -> None:
        """Finish both files."""
        self._log.close()
        if self._curves:
            self._curves.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *problem: object) -> None:
        self.close()

    def _draw(self, values: dict[str, Any]) -> None:
        if "step" in values:
            group, leave = "training", {"step", "of"}
        elif "validated" in values:
            group, leave = "final" if values.get("final") else "validation", {"validated", "final"}
        else:
            return
        if self._curves is None:
            self._curves = _writer(self._folder / "tensorboard", self._step)
        if self._curves:
            for name, value in values.items():
                if name not in leave:
                    self._curves.add_scalar(f"{group}/{name}", value, self._step)


def _writer(folder: Path, first: int) -> Any:
    """TensorBoard's writer, or False without TensorBoard; what a continued run repeats replaces what was there."""
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        return False
    return SummaryWriter(str(folder), purge_step=first)
