"""`sketchseek evaluate` from end to end, with a tiny network on drawn pictures."""

import json
import shutil
import sys
from dataclasses import replace

import pytest
import torch
from PIL import Image, ImageDraw
from torch.nn import functional as F

from app.cli import main
from model.checkpoints.files import save_checkpoint
from model.errors import ConfigurationError
from model.evaluation.encode import encode_usable
from model.evaluation.evaluate import evaluate
from model.evaluation.options import EvaluationOptions
from model.evaluation.tasks import file_list_task, folder_task, pairs_task
from model.networks.registry import build_network
from model.presets import ZSE_TINY
from model.score_rules import ExpansionRule, KindRules, ScoreRule
from model.text.sentence_encoder import WIDTH

METRICS = {"map_all", "map_200_strict", "map_200_lenient", "precision_100", "precision_200", "ms_per_query"}


def draw(path, number, photo):
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.new("RGB", (64, 64), (18 * number, 120, 90) if photo else "white")
    pen = ImageDraw.Draw(image)
    pen.ellipse((8 + number, 10, 50, 40 + number), outline="black", width=3)
    pen.line((5, 5 + number, 58, 60 - 2 * number), fill="black", width=3)
    image.save(path)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    root = tmp_path_factory.mktemp("data")
    for place, category in enumerate(("ant", "bee", "cow")):
        for number in range(4):
            draw(root / "photo" / category / f"n{place}_{number}.jpg", 4 * place + number, photo=True)
        for number in range(3):
            prefix = "tub" if number else "qdv"
            draw(root / "sketch" / category / f"{prefix}_{number}.png", place + number, photo=False)
            draw(root / "named" / category / f"n{place}_{number}-1.png", place + number, photo=False)
    rows = [f"{c},qdv_0.png,n{place}_2.jpg" for place, c in enumerate(("ant", "bee", "cow"))]
    (root / "pairs.csv").write_text("category,sketch,photo\n" + "\n".join(rows) + "\n")
    (root / "unseen.txt").write_text("ant\nCow\n")
    (root / "zeroshot").mkdir()
    for modality, name in (("sketch", "sketch"), ("photo", "all_photo")):
        for part, categories in (("zero", ("ant",)), ("train", ("bee", "cow"))):
            files = [p for c in categories for p in sorted((root / modality / c).iterdir())]
            lines = [f"{path.relative_to(root)} {categories.index(path.parent.name)}" for path in files]
            (root / "zeroshot" / f"{name}_{part}.txt").write_text("\n".join(lines) + "\n")
    return root


@pytest.fixture(scope="module")
def network():
    return build_network(ZSE_TINY, seed=0)


@pytest.fixture(scope="module")
def checkpoint(network, tmp_path_factory):
    path = tmp_path_factory.mktemp("checkpoint") / "tiny.safetensors"
    save_checkpoint(network, path)
    return path


@pytest.fixture
def command(checkpoint, capsys):
    def call(*arguments):
        base = ["--checkpoint", checkpoint, "--device", "cpu", "--dtype", "float32", "--candidates", "3,6"]
        with pytest.raises(SystemExit) as ending:
            main(["evaluate", *map(str, base), *map(str, arguments)])
        captured = capsys.readouterr()
        return ending.value.code, captured.out, captured.err

    return call


def folders(data):
    return "--sketches", data / "sketch", "--photos", data / "photo"


def test_the_json_report(command, data):
    code, out, err = command(*folders(data), "--json")
    assert code == 0, err
    report = json.loads(out)
    assert report["protocol"] == "inter-category"
    assert report["counts"] == {"sketches": 9, "sketches_available": 9, "photos": 12, "categories": 3}
    assert report["checkpoint"]["name"]
    assert len(report["checkpoint"]["sha256"]) == 64
    arms = report["arms"]
    assert set(arms) == {"recall", "relation", "two_stage", "fused", "fused_two_stage"}
    for arm in ("recall", "relation", "fused"):
        assert set(arms[arm]) >= METRICS
    assert set(arms["two_stage"]) == {"3", "6"}
    assert set(arms["two_stage"]["6"]) >= METRICS | {"exhaustive_top_10_kept", "exhaustive_map_200_strict_kept"}
    assert 0 <= arms["two_stage"]["3"]["exhaustive_top_10_kept"] <= 0.3
    assert set(report["sources"]) == {"qdv", "tub"}
    assert report["sources"]["tub"]["sketches"] == 6
    whole = arms["recall"]["map_all"]
    parts = [report["sources"][name]["arms"]["recall"]["map_all"] for name in ("qdv", "tub")]
    assert whole == pytest.approx((parts[0] * 3 + parts[1] * 6) / 9)
    assert report["sample"] is None
    assert report["fusion"] == "standardised"
    assert "photos" in err


def test_tables_and_plots(command, data, tmp_path):
    pytest.importorskip("matplotlib")
    code, out, err = command(*folders(data), "--plots", tmp_path / "plots", "--max-sketches", 6)
    assert code == 0, err
    assert "a balanced sample of 6 of 9 sketches" in out
    for word in ("recall", "two_stage @3", "map_200_strict", "upstream_map_all", "tub: "):
        assert word in out
    for name in ("precision-recall.png", "quality-depth-time.png"):
        with Image.open(tmp_path / "plots" / name) as image:
            assert min(image.size) > 300


def test_plots_that_cannot_be_drawn_do_not_cost_the_figures(command, data, tmp_path, monkeypatch):
    def full(*_, **__):
        raise OSError(28, "No space left on device")

    pytest.importorskip("matplotlib")
    monkeypatch.setattr("model.evaluation.plots.draw_plots", full)
    code, out, err = command(*folders(data), "--arms", "recall", "--json", "--plots", tmp_path / "plots")
    assert json.loads(out)["arms"]["recall"]
    assert code == 1
    assert "the plots could not be written" in err


def test_plots_ask_for_their_extra_before_anything_is_measured(command, data, tmp_path, monkeypatch):
    def measured(*_):
        pytest.fail("measured before it was known that nothing can be drawn")

    monkeypatch.setattr("model.evaluation.evaluate.evaluate", measured)
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    code, _, err = command(*folders(data), "--plots", tmp_path / "plots")
    assert code == 1
    assert "extra 'train': pip install 'sketchseek[train]'" in err


def test_two_stages_alone_equal_two_stages_of_all_pairs(network, data):
    task = folder_task(data / "sketch", data / "photo", "inter-category")
    alone = evaluate(network, task, EvaluationOptions(arms=("two_stage",), candidates=(3, 12)))
    whole = evaluate(network, task, EvaluationOptions(candidates=(3, 12)))
    for k in ("3", "12"):
        for name, value in alone.report["arms"]["two_stage"][k].items():
            if name != "ms_per_query":
                assert value == pytest.approx(whole.report["arms"]["two_stage"][k][name])
    assert "exhaustive_top_10_kept" not in alone.report["arms"]["two_stage"]["3"]
    full = whole.report["arms"]["two_stage"]["12"]
    assert full["map_all"] == pytest.approx(whole.report["arms"]["relation"]["map_all"])
    assert full["exhaustive_top_10_kept"] == 1
    assert full["exhaustive_map_200_strict_kept"] == pytest.approx(1)


def test_the_gallery_is_encoded_once(network, data, monkeypatch):
    encoded = []
    encode = network.encode_photo

    def counted(images):
        encoded.append(len(images))
        return encode(images)

    monkeypatch.setattr(network, "encode_photo", counted)
    task = folder_task(data / "sketch", data / "photo", "inter-category")
    evaluate(network, task, EvaluationOptions(batch_size=5))
    assert encoded == [5, 5, 2]


def test_categories_and_protocols(command, data):
    unseen = ("--categories", data / "unseen.txt", "--arms", "recall", "--json")
    report = json.loads(command(*folders(data), *unseen)[1])
    assert report["counts"]["categories"] == 2
    assert report["counts"]["photos"] == 8
    report = json.loads(command(*folders(data), *unseen, "--protocol", "generalised")[1])
    assert report["protocol"] == "generalised"
    assert report["counts"]["photos"] == 12
    assert "seen_share_100" in report["arms"]["recall"]
    report = json.loads(command(*folders(data), "--arms", "recall", "--json", "--protocol", "cross-dataset")[1])
    assert report["protocol"] == "cross-dataset"


def test_instance_level_retrieval(command, data):
    for arguments, chance in (
        (("--pairs", data), 1),  # its gallery has one photo of each category
        (("--sketches", data / "named", "--photos", data / "photo", "--protocol", "instance"), 1 / 4),
    ):
        code, out, err = command(*arguments, "--json")
        assert code == 0, err
        report = json.loads(out)
        assert report["protocol"] == "instance"
        assert set(report["arms"]["two_stage"]["3"]) >= {"acc_1", "acc_5", "category_acc_1", "chance_acc_1"}
        assert report["arms"]["recall"]["category_chance_acc_1"] == pytest.approx(chance)
    assert "category_chance_acc_1" in command(*arguments)[1]
    assert pairs_task(data, ["bee"]).photos[0].category == "bee"


def test_file_lists(command, data):
    arguments = ("--file-lists", data, "--split", "quickdraw-30", "--arms", "recall", "--json")
    report = json.loads(command(*arguments)[1])
    assert report["counts"] == {"sketches": 3, "sketches_available": 3, "photos": 4, "categories": 1}
    report = json.loads(command(*arguments, "--protocol", "generalised")[1])
    assert report["counts"]["photos"] == 12
    assert len(file_list_task(data, "quickdraw-30", "inter-category").photos) == 4


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "give one of"),
        (("--sketches", "DATA/sketch"), "go together"),
        (("--sketches", "DATA/sketch", "--photos", "DATA/photo", "--pairs", "DATA"), "give one of"),
        (("--sketches", "DATA/sketch", "--photos", "DATA/gone"), "gone"),
        (("--sketches", "DATA/sketch", "--photos", "DATA/photo", "--arms", "recall,magic"), "magic"),
        (("--sketches", "DATA/sketch", "--photos", "DATA/photo", "--candidates", "3,x"), "3,x"),
        (("--sketches", "DATA/sketch", "--photos", "DATA/photo", "--candidates", "3,3"), "different"),
        (("--sketches", "DATA/sketch", "--photos", "DATA/photo", "--protocol", "odd"), "odd"),
        (("--file-lists", "DATA", "--categories", "DATA/unseen.txt"), "--categories"),
        (("--pairs", "DATA", "--protocol", "generalised"), "--pairs is measured by the protocol instance"),
        (("--pairs", "DATA", "--seed", "99999999999999999999"), "seed must be from 0"),
        (("--pairs", "DATA", "--plots", "DATA/pairs.csv"), "plots go into a folder"),
        (("--pairs", "DATA", "--plots", "DATA/pairs.csv/in"), "plots go into a folder"),
        (("--sketches", "DATA/sketch", "--photos", "DATA/photo", "--checkpoint", "nobody"), "nobody"),
    ],
)
def test_mistakes_are_one_sentence(command, data, arguments, said):
    code, out, err = command(*[argument.replace("DATA", str(data)) for argument in arguments])
    assert code == 1
    assert out == ""
    assert said in err
    assert "Traceback" not in err


@pytest.fixture
def damaged(data, tmp_path):
    """The same data with two sketches and one photo that cannot be used."""
    root = tmp_path / "damaged"
    shutil.copytree(data, root)
    (root / "sketch" / "ant" / "tub_1.png").write_bytes(b"no image")
    Image.new("RGB", (64, 64), "white").save(root / "sketch" / "bee" / "tub_2.png")
    (root / "photo" / "ant" / "n0_2.jpg").unlink()
    return root


def test_what_cannot_be_used_is_left_out_counted_and_named(command, damaged):
    arguments = "--file-lists", damaged, "--split", "quickdraw-30", "--protocol", "generalised", "--arms", "recall"
    code, out, err = command(*arguments, "--json")
    assert code == 0, err
    report = json.loads(out)
    assert (report["counts"]["sketches"], report["counts"]["photos"]) == (2, 11)
    skipped = report["skipped"]
    assert (skipped["sketches"], skipped["photos"], skipped["sketches_without_photo"]) == (1, 1, 0)
    assert [name for name in ("tub_1.png", "n0_2.jpg") for said in skipped["images"] if name in said] == [
        "tub_1.png",
        "n0_2.jpg",
    ]
    for name in ("tub_1.png", "n0_2.jpg"):
        assert name in err
    assert "left out: 1 sketches and 1 photos" in command(*arguments)[1]
    code, out, err = command(*arguments, "--strict")
    assert (code, out) == (1, "")
    assert "n0_2.jpg" in err


def test_what_is_left_out_changes_no_other_figure(network, data, damaged):
    (damaged / "photo" / "ant" / "n0_2.jpg").write_bytes(b"no image")
    for name in ("photo/ant/n0_2.jpg", "sketch/ant/tub_1.png", "sketch/bee/tub_2.png"):
        (damaged / "clean" / name).parent.mkdir(parents=True, exist_ok=True)
    shutil.copytree(data / "photo", damaged / "clean" / "photo", dirs_exist_ok=True)
    shutil.copytree(data / "sketch", damaged / "clean" / "sketch", dirs_exist_ok=True)
    for name in ("photo/ant/n0_2.jpg", "sketch/ant/tub_1.png", "sketch/bee/tub_2.png"):
        (damaged / "clean" / name).unlink()
    options = EvaluationOptions(arms=("recall", "relation"), batch_size=2)
    tasks = [folder_task(root / "sketch", root / "photo", "inter-category") for root in (damaged, damaged / "clean")]
    left, clean = (evaluate(network, task, options).report for task in tasks)
    assert left["counts"] | {"sketches_available": 7} == clean["counts"]
    for arm in ("recall", "relation"):
        for metric, value in clean["arms"][arm].items():
            if metric != "ms_per_query":
                assert left["arms"][arm][metric] == pytest.approx(value), metric


def test_a_pair_without_its_photo_is_left_out(command, damaged):
    rows = [f"ant,{sketch},n0_{photo}.jpg" for sketch, photo in (("qdv_0.png", 2), ("tub_2.png", 1), ("gone.png", 3))]
    (damaged / "pairs.csv").write_text("\n".join(["category,sketch,photo", *rows]) + "\n")
    code, out, err = command("--pairs", damaged, "--arms", "recall", "--json")
    assert code == 0, err
    report = json.loads(out)
    assert (report["counts"]["sketches"], report["counts"]["photos"]) == (1, 2)
    skipped = report["skipped"]
    assert (skipped["sketches"], skipped["photos"], skipped["sketches_without_photo"]) == (1, 1, 1)


def test_a_category_that_loses_everything_is_an_error(command, damaged):
    for number in (0, 2):
        next((damaged / "sketch" / "ant").glob(f"*_{number}.png")).write_bytes(b"")
    code, out, err = command(*folders(damaged), "--arms", "recall")
    assert (code, out) == (1, "")
    assert "no sketch can be used of: ant" in err
    assert "tub_1.png" in err
    for photo in (damaged / "photo" / "bee").iterdir():
        photo.write_bytes(b"no image")
    assert "no photo can be used of: bee" in command(*folders(damaged), "--arms", "recall")[2]


def test_many_images_that_cannot_be_used_are_named_in_part(command, damaged):
    for photo in [*(damaged / "photo" / "bee").iterdir()][1:] + [*(damaged / "photo" / "cow").iterdir()][1:]:
        photo.write_bytes(b"no image")
    err = command(*folders(damaged), "--arms", "recall", "--strict")[2]
    assert "6 of 11 images cannot be used" in err
    assert "and 1 more" in err


@pytest.fixture(scope="module")
def ruled(network):
    """The same network with a rule that weighs both scores and expands queries."""
    rule = ScoreRule(0.5, 2.0, -1.0, ExpansionRule(neighbours=3, weight=1.0))
    other = build_network(replace(ZSE_TINY, score=rule), seed=0)
    other.identity = network.identity
    return other


def test_the_checkpoints_own_rule_fuses(ruled, network, data):
    task = folder_task(data / "sketch", data / "photo", "inter-category")
    options = EvaluationOptions(arms=("recall", "relation", "fused"), expansion=False)
    own, standard = evaluate(ruled, task, options).report, evaluate(network, task, options).report
    assert (own["fusion"], standard["fusion"]) == ("checkpoint", "standardised")
    assert own["arms"]["recall"]["map_all"] == standard["arms"]["recall"]["map_all"]
    recall_alone = build_network(replace(ZSE_TINY, score=ScoreRule(1e-9, 1.0)), seed=0)
    report = evaluate(recall_alone, task, options).report
    assert report["fusion"] == "checkpoint"
    assert report["arms"]["fused"]["map_all"] == pytest.approx(report["arms"]["recall"]["map_all"])
    assert report["arms"]["fused"]["map_all"] != pytest.approx(standard["arms"]["fused"]["map_all"])


@pytest.fixture
def apart(monkeypatch):
    """Descriptors that point anywhere: those of random weights are so alike that expansion changes no order."""

    def scattered(network, items, **how):
        encoded = encode_usable(network, items, **how)
        noise = torch.randn(encoded.encoding.descriptor.shape, generator=torch.Generator().manual_seed(len(items)))
        descriptor = torch.nn.functional.normalize(noise, dim=1)
        return replace(encoded, encoding=replace(encoded.encoding, descriptor=descriptor))

    monkeypatch.setattr("model.evaluation.evaluate.encode_usable", scattered)


@pytest.mark.usefixtures("apart")
def test_queries_are_expanded_as_the_checkpoint_declares_unless_told_not_to(ruled, network, data, tmp_path, command):
    task = folder_task(data / "sketch", data / "photo", "inter-category")
    options = EvaluationOptions(arms=("recall",))
    expanded = evaluate(ruled, task, options).report
    once = evaluate(ruled, task, replace(options, expansion=False)).report
    plain = evaluate(network, task, options).report
    assert expanded["expansion"] == {"neighbours": 3, "weight": 1.0}
    assert once["expansion"]["neighbours"] == plain["expansion"]["neighbours"] == 0
    assert once["arms"]["recall"]["map_all"] == plain["arms"]["recall"]["map_all"]
    assert expanded["arms"]["recall"]["map_all"] != once["arms"]["recall"]["map_all"]
    path = tmp_path / "ruled.safetensors"
    save_checkpoint(ruled, path)
    for more, neighbours in (((), 3), (("--no-expansion",), 0)):
        called = command(*folders(data), "--checkpoint", path, "--arms", "recall", "--json", *more)
        assert json.loads(called[1])["expansion"]["neighbours"] == neighbours


def test_every_category_is_reported_apart(network, data):
    task = folder_task(data / "sketch", data / "photo", "inter-category")
    report = evaluate(network, task, EvaluationOptions(arms=("recall",))).report
    assert list(report["categories"]) == ["ant", "bee", "cow"]
    assert [part["sketches"] for part in report["categories"].values()] == [3, 3, 3]
    parts = [part["arms"]["recall"]["map_all"] for part in report["categories"].values()]
    assert sum(parts) / 3 == pytest.approx(report["arms"]["recall"]["map_all"])
    assert len(set(parts)) > 1


def test_categories_that_the_checkpoint_was_trained_on_are_told(network, data, tmp_path, command):
    path = tmp_path / "trained.safetensors"
    save_checkpoint(network, path, extra={"training": json.dumps({"categories": ["Bee", "zebra"]})})
    arguments = *folders(data), "--checkpoint", path, "--arms", "recall"
    assert json.loads(command(*arguments, "--json")[1])["trained_on"] == ["bee"]
    assert "not zero-shot: the checkpoint was trained on bee" in command(*arguments)[1]
    report = json.loads(command(*folders(data), "--arms", "recall", "--json")[1])
    assert report["trained_on"] is None  # a checkpoint that does not tell


def test_options_are_checked():
    with pytest.raises(ConfigurationError, match="arm"):
        EvaluationOptions(arms=())
    with pytest.raises(ConfigurationError, match="candidates"):
        EvaluationOptions(candidates=(0,))


# --- words


class Spelling:
    """In place of the sentence encoder: a text's letters decide where it lies."""

    def embedding(self, text):
        drawn = torch.Generator().manual_seed(sum(map(ord, text)))
        return F.normalize(torch.randn(WIDTH, generator=drawn), dim=0)


@pytest.fixture(scope="module")
def worded_checkpoint(tmp_path_factory):
    config = replace(ZSE_TINY, encoder=replace(ZSE_TINY.encoder, text_width=WIDTH))
    worded = build_network(config, seed=0)
    assert worded.text_map is not None
    torch.nn.init.normal_(worded.text_map.matrix, generator=torch.Generator().manual_seed(2))
    path = tmp_path_factory.mktemp("worded") / "worded.safetensors"
    save_checkpoint(worded, path)
    return path


@pytest.fixture
def words(command, worded_checkpoint, monkeypatch):
    monkeypatch.setattr("model.text.text_reader.sentence_encoder", Spelling)

    def call(*arguments):
        code, out, err = command("--checkpoint", worded_checkpoint, "--json", *arguments)
        return (code, json.loads(out), err) if not code else (code, None, err)

    return call


def test_names_ask_in_place_of_sketches(words, data):
    code, report, err = words("--text", "names", "--photos", data / "photo", "--categories", data / "unseen.txt")
    assert code == 0, err
    assert report["query"] == "text"
    assert report["counts"] == {"sketches": 2, "sketches_available": 2, "photos": 8, "categories": 2}
    assert set(report["arms"]) == {"recall"}
    assert 0 < report["arms"]["recall"]["map_all"] <= 1
    assert report["arms"]["recall"]["ms_per_query"] > 0


def test_texts_are_measured_with_their_own_rule(words, data, tmp_path):
    """Not with that of a sketch."""
    rule = ScoreRule(0.0, 1.0, expansion=ExpansionRule(2, 0.5))
    config = replace(ZSE_TINY, encoder=replace(ZSE_TINY.encoder, text_width=WIDTH), kinds=KindRules(text=rule))
    save_checkpoint(build_network(config, seed=0), tmp_path / "ruled.safetensors")
    base = ("--checkpoint", tmp_path / "ruled.safetensors")
    asked = words(*base, "--text", "names", "--photos", data / "photo")[1]
    assert asked["expansion"] == {"neighbours": 2, "weight": 0.5}
    assert words(*base, *folders(data), "--with-text")[1]["expansion"]["neighbours"] == 0


def test_texts_of_a_file_are_measured_kind_by_kind(words, data, tmp_path):
    texts = tmp_path / "texts.csv"
    texts.write_text("category,kind,text\nant,name,ant\nANT,plural,ants\nbee,name,bee\ncow,name,cow\nelk,name,elk\n")
    code, report, err = words("--text", texts, "--photos", data / "photo")
    assert code == 0, err
    assert {kind: part["sketches"] for kind, part in report["sources"].items()} == {"name": 3, "plural": 1}
    names = words("--text", "names", "--photos", data / "photo")[1]["arms"]["recall"]["map_all"]
    assert report["sources"]["name"]["arms"]["recall"]["map_all"] == pytest.approx(names)
    generalised = words("--text", texts, "--photos", data / "photo", "--categories", data / "unseen.txt",
                        "--protocol", "generalised")[1]  # fmt: skip
    assert generalised["counts"]["photos"] == 12
    assert generalised["counts"]["sketches"] == 3


def test_a_sketch_and_its_name_ask_together(words, data):
    reports = {weight: words(*folders(data), "--with-text", "--text-weight", weight)[1] for weight in ("0", "1", "10")}
    alone = words(*folders(data))[1]
    assert {report["query"] for report in reports.values()} == {"sketch and text"}
    assert alone["query"] == "sketch"
    for arm in ("recall", "relation", "fused"):
        for metric, value in alone["arms"][arm].items():
            if metric != "ms_per_query":
                assert reports["0"]["arms"][arm][metric] == pytest.approx(value, abs=1e-6), (arm, metric)
    found = {weight: report["arms"]["recall"]["map_all"] for weight, report in reports.items()}
    assert found["1"] != found["0"]
    text = words("--text", "names", "--photos", data / "photo")[1]["categories"]["ant"]["arms"]["recall"]["map_all"]
    with_sketch = reports["10"]["categories"]["ant"]["arms"]["recall"]["map_all"]
    assert with_sketch == pytest.approx(text, abs=0.2)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--text", "names"), "--text goes with --photos alone"),
        (("--text", "names", "--photos", "{photo}", "--sketches", "{sketch}"), "--text goes with --photos alone"),
        (("--text", "names", "--photos", "{photo}", "--arms", "recall,relation"), "leave out relation"),
        (("--text", "names", "--photos", "{photo}", "--with-text"), "leave out --with-text"),
        (("--text", "names", "--photos", "{photo}", "--protocol", "instance"), "inter-category or generalised"),
        (("--text", "none.csv", "--photos", "{photo}"), "cannot read the texts of none.csv"),
        (("--text", "{lines}", "--photos", "{photo}"), "line 3: it needs the columns category, kind, text"),
        (("--text", "{few}", "--photos", "{photo}"), "has no text for: bee, cow"),
    ],
)
def test_words_that_cannot_ask_are_refused(words, data, tmp_path, arguments, said):
    (tmp_path / "lines.csv").write_text("category,kind,text\nant,name,ant\nbee,name\n")
    (tmp_path / "few.csv").write_text("category,kind,text\nant,name,ant\n")
    places = {"photo": data / "photo", "sketch": data / "sketch"}
    places |= {name: tmp_path / f"{name}.csv" for name in ("lines", "few")}
    code, _, err = words(*(str(argument).format(**places) for argument in arguments))
    assert code == 1
    assert said in err
    assert "Traceback" not in err


@pytest.mark.parametrize("weight", [-0.1, 10.1, float("nan")])
def test_a_weight_out_of_range_is_refused(weight):
    with pytest.raises(ConfigurationError, match="from 0 to 10"):
        EvaluationOptions(text_weight=weight)


@pytest.mark.parametrize("arguments", [("--text", "names"), ("--with-text", "--sketches", "{sketch}")])
def test_a_checkpoint_without_a_map_says_so(command, data, arguments):
    given = [argument.format(sketch=data / "sketch") for argument in arguments]
    code, _, err = command(*given, "--photos", data / "photo")
    assert code == 1
    assert "has no map of words" in err
