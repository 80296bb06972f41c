"""Errors of a training run that are the user's to mend."""

from model.errors import SketchseekError


class DivergedError(SketchseekError):
    """The loss is no number any more."""

    code = "training_diverged"


class StoppedError(SketchseekError):
    """The run was asked to stop before its last step; its state is saved and the same command continues."""

    code = "training_stopped"
