"""`sketchseek train` from end to end, with a tiny network on drawn pictures."""

import json
import os
import shutil
import signal
import socket

import pytest
import torch
from safetensors.torch import load_file

from app.cli import main, training_progress
from app.cli.train import _asked_to_stop
from model.checkpoints.files import load_checkpoint
from model.errors import ConfigurationError
from model.presets import ZSE_TINY, ZSE_VIT_B16
from model.training.config import UPSTREAM_RECIPE, TrainConfig
from model.training.material.sources import decoding_side, starting_weights
from model.training.run.run import CONFIG
from tests.forked import Command
from tests.model.training.conftest import draw_collection

TINY = ["train", "--preset", "zse-tiny", "--start", "none", "--device", "cpu", "--validation", "2"]
SMALL = {
    "categories": 3,
    "per_category": 2,
    "hard": 2,
    "easy": 1,
    "warmup": 2,
    "save_every": 2,
    "weights.text": 0,
    "weights.distil": 0,
}
SETTINGS = [part for name, value in SMALL.items() for part in ("--set", f"{name}={value}")]


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return draw_collection(tmp_path_factory.mktemp("data"))


def arguments(data, folder, *more, steps=4):
    return [*TINY, *SETTINGS, "--data", str(data), "--run", str(folder / "run"), "--steps", str(steps), *more]


def succeed(command):
    with pytest.raises(SystemExit) as ended:
        main(command)
    assert ended.value.code == 0


def reports(text):
    return [json.loads(line) for line in text.splitlines()]


def weights(folder):
    return load_file(folder / "run" / "checkpoint.safetensors")


def same_bits(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def test_a_person_sees_progress_and_finds_a_checkpoint(data, tmp_path, capsys):
    succeed(arguments(data, tmp_path))
    printed = capsys.readouterr()
    assert printed.out.startswith(f"wrote {tmp_path / 'run' / 'checkpoint.safetensors'} (sha256 ")
    for words in ("training, loss", "validation on", "step 4: validation mAP@all", "the score rule weighs"):
        assert words in printed.err
    assert (tmp_path / "run" / "log.jsonl").read_text().count("\n") >= 4
    assert list((tmp_path / "cache").glob("photo-*.npy"))
    assert load_checkpoint(tmp_path / "run" / "checkpoint.safetensors", "cpu").config.preset == "zse-tiny"


def test_machines_read_a_report_a_line(data, tmp_path, capsys):
    extra = tmp_path / "extra.ndjson"
    drawing = {"word": "fig", "drawing": [[[0, 90, 90], [0, 10, 80]]], "key_id": "1"}
    extra.write_text("".join(json.dumps({**drawing, "key_id": str(number)}) + "\n" for number in range(3)))
    (tmp_path / "without.txt").write_text("elk\n")
    left_out = ["--strokes", str(extra), "--without", str(tmp_path / "without.txt"), "--without-reserved"]
    succeed(arguments(data, tmp_path, "--json", "--validation", "0", *left_out, steps=1))
    lines = reports(capsys.readouterr().out)
    assert lines[0] == {"held_out": [], "train": 16, "processes": 1}  # bee and dog: ant and cow are reserved
    assert [line["step"] for line in lines if "step" in line] == [1]
    assert "sha256" in lines[-1]


def test_a_rule_can_be_taken_from_a_validated_run(data, tmp_path, capsys):
    succeed(arguments(data, tmp_path, steps=2))
    rule = load_checkpoint(tmp_path / "run" / "checkpoint.safetensors", "cpu").config.score
    whole = tmp_path / "whole"
    taken = ["--score-from", str(tmp_path / "run" / "checkpoint.safetensors")]
    succeed(arguments(data, whole, "--validation", "0", *taken, steps=2))
    assert load_checkpoint(whole / "run" / "checkpoint.safetensors", "cpu").config.score == rule
    with pytest.raises(SystemExit):
        main(arguments(data, whole, *taken))
    assert "--score-from is for --validation 0" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("more", "why"),
    [
        (["--recipe", "best"], "no recipe is named 'best'"),
        (["--set", "colour=1"], "no setting 'colour'"),
        (["--validation", "4"], "hold out fewer"),
        (["--file-lists", "."], "one of: --data DIR, or --file-lists"),
        (["--start", "nowhere.pt"], "--start must be"),
        (["--recipe", "upstream", "--extra", "DATA/sketch"], "takes no sketches without photos"),
        (["--preset", "zse-huge"], "no preset is named 'zse-huge'"),
    ],
)
def test_what_cannot_be_trained_is_said_in_a_sentence(data, tmp_path, capsys, more, why):
    with pytest.raises(SystemExit) as stopped:
        main(arguments(data, tmp_path, *(part.replace("DATA", str(data)) for part in more)))
    assert stopped.value.code == 1
    assert why in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_published_file_lists_train_on_their_training_part(data, tmp_path, capsys):
    """Images that are listed and missing, the first of all among them, are left out and named."""
    (data / "zeroshot").mkdir(exist_ok=True)
    for modality, name in (("sketch", "sketch"), ("photo", "all_photo")):
        for part, categories in (("zero", ("elk",)), ("train", ("ant", "bee", "cow", "dog"))):
            files = [path for category in categories for path in sorted((data / modality / category).iterdir())]
            lines = [f"{path.relative_to(data)} {categories.index(path.parent.name)}" for path in files]
            missing = [f"{modality}/{category}/gone.png {label}" for label, category in enumerate(categories)]
            (data / "zeroshot" / f"{name}_{part}.txt").write_text("\n".join(missing + lines) + "\n")
    lists = ["--file-lists", str(data), "--split", "quickdraw-30", "--run", str(tmp_path / "run"), "--steps", "1"]
    succeed([*TINY, *SETTINGS, *lists, "--json"])
    told = reports(capsys.readouterr().out)
    first = told[0]
    left_out = [sentence for report in told for sentence in report.get("left_out", ())]
    assert all("gone.png" in sentence for sentence in left_out)
    assert {"photo", "sketch"} == {sentence.removeprefix(f"{data}/").partition("/")[0] for sentence in left_out}
    assert first["train"] == 16 + 4  # listed of two of the four training categories; the test category is nowhere
    assert len(first["held_out"]) == 2
    assert "elk" not in first["held_out"]


def environment():
    return {**os.environ, "OMP_NUM_THREADS": str(torch.get_num_threads()), "PYTHONUNBUFFERED": "1"}


@pytest.mark.timeout(600)
def test_a_killed_run_ends_bit_equal_to_an_undisturbed_one(data, tmp_path):
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    succeed(arguments(data, whole, steps=12))
    os.mkfifo(told := tmp_path / "told")
    process = Command(arguments(data, killed, "--json", steps=12), environment(), output=told, errors=tmp_path / "said")
    with told.open() as lines:
        next(line for line in lines if json.loads(line).get("step") == 5)
        process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    assert not (killed / "run" / "checkpoint.safetensors").exists()
    assert int(torch.load(killed / "run" / "state.pt", weights_only=True)["step"]) in range(4, 12)
    succeed(arguments(data, killed, steps=12))
    assert same_bits(weights(killed), weights(whole))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_asks_to_stop_and_a_second_one_insists(number, capsys):
    before = signal.getsignal(number)
    with _asked_to_stop() as stop:
        assert not stop()
        os.kill(os.getpid(), number)
        assert stop()
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), number)
    assert signal.getsignal(number) == before
    assert "stopping after this step" in capsys.readouterr().err


def test_drawings_with_their_photos_take_part(data, tmp_path, capsys):
    """All but those of held-out categories, and only where the recipe learns from them."""
    pairs = tmp_path / "pairs"
    rows = ["category,sketch,photo"]
    for folder in sorted((data / "sketch").iterdir()):
        for side in ("sketch", "photo"):
            shutil.copytree(data / side / folder.name, pairs / side / folder.name)
        names = [sorted(file.name for file in (pairs / side / folder.name).iterdir()) for side in ("sketch", "photo")]
        rows += [f"{folder.name},{sketch},{photo}" for sketch, photo in zip(names[0], names[1], strict=False)]
    (pairs / "pairs.csv").write_text("\n".join(rows))
    succeed(arguments(data, tmp_path, "--json", "--pairs", str(pairs), "--recipe", "contours", steps=2))
    lines = reports(capsys.readouterr().out)
    kept = [row for row in rows[1:] if row.partition(",")[0] not in lines[0]["held_out"]]
    assert lines[0]["pairs"] == len(kept) < len(rows) - 1
    described = json.loads((tmp_path / "run" / CONFIG).read_text())
    assert described["data"]["pairs"]["sketches"] == len(kept)
    with pytest.raises(SystemExit) as ended:
        main(arguments(data, tmp_path / "other", "--pairs", str(pairs)))
    assert ended.value.code == 1
    assert "--recipe contours" in capsys.readouterr().err


@pytest.mark.timeout(300)
def test_two_processes_train_together(data, tmp_path):
    """By gloo, with the variables that torchrun sets; the tests of the processes themselves share gradients."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        meet = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(probe.getsockname()[1]), "WORLD_SIZE": "2"}
    processes = [
        Command(
            arguments(data, tmp_path, "--json", steps=2),
            {**environment(), **meet, "RANK": str(rank), "LOCAL_RANK": str(rank)},
            output=tmp_path / f"{rank}.out",
            errors=tmp_path / f"{rank}.err",
        )
        for rank in range(2)
    ]
    assert [process.wait(250) for process in processes] == [0, 0], (tmp_path / "0.err").read_text()[-2000:]
    lines = reports((tmp_path / "0.out").read_text())
    assert reports((tmp_path / "1.out").read_text()) == []
    assert lines[0]["processes"] == 2
    assert [line["step"] for line in lines if "step" in line] == [1, 2]
    assert (tmp_path / "run" / "checkpoint.safetensors").is_file()


def test_starting_weights_are_a_package_where_there_is_one_and_else_the_hub(tmp_path):
    from model.presets import ZSE_LITE

    ours = TrainConfig()
    assert starting_weights(ZSE_LITE, ours, "auto") == (ZSE_LITE, "package")
    assert starting_weights(ZSE_VIT_B16, ours, "auto") == (ZSE_VIT_B16, "hub")
    published, start = starting_weights(ZSE_VIT_B16, UPSTREAM_RECIPE, "auto")
    assert (published.encoder.backbone, start) == ("vit_base_patch16_224.sam_in1k", "hub")
    assert starting_weights(ZSE_TINY, ours, "none") == (ZSE_TINY, None)
    file = tmp_path / "weights.pt"
    file.touch()
    assert starting_weights(ZSE_TINY, ours, str(file)) == (ZSE_TINY, file)
    with pytest.raises(ConfigurationError):
        starting_weights(ZSE_TINY, ours, "elsewhere")


def test_images_are_decoded_larger_only_where_they_are_cropped():
    assert decoding_side(ZSE_VIT_B16, UPSTREAM_RECIPE) == 224
    assert decoding_side(ZSE_VIT_B16, TrainConfig()) == 299


def test_images_are_decoded_for_the_larger_of_both_sides():
    assert decoding_side(ZSE_TINY, TrainConfig(image_size=128)) == round(128 / 0.75)
    assert decoding_side(ZSE_VIT_B16, TrainConfig(image_size=128)) == 299


def test_names_and_sides_that_are_not_used_are_told_first(tmp_path, capsys):
    lopsided = draw_collection(tmp_path / "lopsided", each=1)
    (lopsided / "photo" / "bee" / "p0.png").unlink()
    (tmp_path / "without.txt").write_bytes("\ufeffelkk\ncow\n".encode())
    command = arguments(lopsided, tmp_path, "--without", str(tmp_path / "without.txt"), "--validation", "0", steps=1)
    command += ["--set", "per_category=1"]
    succeed([*command, "--json"])
    first = reports(capsys.readouterr().out)[0]
    assert first["unmatched"] == ["elkk"]  # and cow, behind it, is left out
    assert first["without_photos"] == ["bee"]
    assert "without_sketches" not in first
    succeed(command)
    shown = capsys.readouterr().err
    assert "--without names what is not there: elkk" in shown
    assert "sketches without photos, which are not learnt from: bee" in shown


@pytest.mark.parametrize("option", ["--initial", "--score-from"])
def test_a_checkpoint_is_looked_for_before_anything_is_decoded(data, tmp_path, capsys, option):
    damaged = tmp_path / "damaged.safetensors"
    damaged.write_bytes(b"nothing")
    for name, said in (
        ("zse-huge", "no checkpoint 'zse-huge': give a file or a bundled name"),
        (damaged, "damaged.saf"),
    ):
        with pytest.raises(SystemExit):
            main(arguments(data, tmp_path, option, str(name), "--validation", "0"))
        assert said in capsys.readouterr().err
        assert not (tmp_path / "cache").exists()


def test_a_bundled_checkpoint_can_be_named(data, tmp_path):
    succeed(arguments(data, tmp_path, "--score-from", "zse-lite", "--validation", "0", steps=1))
    rule = load_checkpoint("zse-lite", "cpu").config.score
    assert load_checkpoint(tmp_path / "run" / "checkpoint.safetensors", "cpu").config.score == rule


def test_a_refused_run_leaves_the_other_runs_log_alone(data, tmp_path, capsys):
    succeed(arguments(data, tmp_path, "--validation", "0", steps=1))
    before = {path.name: path.read_bytes() for path in (tmp_path / "run").iterdir() if path.is_file()}
    with pytest.raises(SystemExit):
        main(arguments(data, tmp_path, "--validation", "0", "--set", "seed=5", steps=1))
    assert "started in another way (training.seed)" in capsys.readouterr().err
    assert {path.name: path.read_bytes() for path in (tmp_path / "run").iterdir() if path.is_file()} == before


def test_a_person_reads_why_texts_are_not_read_as_expected(tmp_path, capsys):
    with training_progress.reports(tmp_path, first=True, as_json=False) as report:
        report({"text_tower": False, "because": "there is no tower"})
        report({"text_map": False, "because": "an extra is missing"})
        report({"text_map": True})
    said = capsys.readouterr().err
    assert "the sentence encoder will read texts, not CLIP's own text tower: there is no tower" in said
    assert "the checkpoint cannot be searched by text: an extra is missing" in said
    assert len(said.split("\n")) == 4  # and nothing of a map that was fitted
