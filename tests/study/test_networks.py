"""The study's networks: every normalization from one network, by model.py or by swap."""

import pickle
from dataclasses import replace

import pytest
import torch
from torch import nn

from model import COLOUR, Net
from normbench.data import Dataset
from normbench.layers import GhostBatchNorm2d, LayerNormOfPixels, StandardizedConv2d
from normbench.swapping import normalizations
from normbench.training import Recipe
from study.batch_statistics import SPLITTING
from study.networks import TRAINER, build, study_recipe, usual_recipe

NORMS = ("BN", "GN:2", "GN:8", "LN", "IN", "none", "GN", "BN:4", "LN_CHW", "LN_C", "WS+BN", "WS+GN:2", "WS+none")


@pytest.fixture(scope="module")
def photographs():
    """A few random colour images, of 3 classes."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randint(256, (24, 3, 32, 32), generator=generator).to(torch.uint8)
    y = torch.arange(24) % 3
    return Dataset("photographs", ("a", "b", "c"), x, y, x[:6], y[:6])


def kinds(net):
    return {type(layer) for layer in net.modules()}


@pytest.mark.parametrize("norm", NORMS)
def test_every_norm_can_be_trained(norm, few_digits, photographs):
    for data in (few_digits, photographs):
        net = build(Recipe(norm), data)
        outputs = net(data.standardize(data.x_train[:6]))
        outputs.sum().backward()
        assert outputs.shape == (6, len(data.classes))
        assert all(p.grad is not None for p in net.parameters())


def test_the_layers_are_those_of_the_norm(few_digits):
    def layers(norm):
        return list(normalizations(build(Recipe(norm), few_digits)).values())

    assert {type(layer) for layer in layers("BN")} == {nn.BatchNorm2d}
    assert {layer.num_groups for layer in layers("GN:4")} == {4} and {layer.num_groups for layer in layers("LN")} == {1}
    assert {type(layer) for layer in layers("IN")} == {nn.InstanceNorm2d} and layers("none") == []
    assert {layer.images for layer in layers("BN:4")} == {4} and type(layers("BN:4")[0]) is GhostBatchNorm2d
    assert {type(layer) for layer in layers("LN_C")} == {LayerNormOfPixels}
    assert [layer.weight.ndim for layer in layers("LN_CHW")] == [3] * 5
    assert layers("GN")[0].num_groups == 4, "as many as fit 8 channels"


def test_weights_are_standardized_where_the_norm_says_so_and_those_of_the_average_never(photographs):
    plain, standardized = (build(Recipe(norm), photographs) for norm in ("GN:2", "WS+GN:2"))
    assert StandardizedConv2d not in kinds(plain)
    assert all(type(layer) is StandardizedConv2d for layer in standardized.features if isinstance(layer, nn.Conv2d))
    assert StandardizedConv2d not in kinds(standardized.average)


@pytest.mark.parametrize("norm", NORMS)
def test_a_seed_gives_the_same_initial_weights_for_every_norm(norm, few_digits):
    def weights(recipe):
        net = build(recipe, few_digits)
        return [layer.weight for layer in net.modules() if isinstance(layer, (nn.Conv2d, nn.Linear))]

    def equal(a, b):
        return all(map(torch.equal, weights(a), weights(b)))

    assert equal(Recipe(norm, seed=3), Recipe("BN", seed=3)) and not equal(Recipe(norm, seed=4), Recipe("BN", seed=3))


def test_building_leaves_the_global_generator_alone(few_digits):
    torch.manual_seed(1)
    expected = torch.rand(3)
    torch.manual_seed(1)
    build(Recipe("WS+GN:2", seed=5), few_digits)
    assert torch.equal(torch.rand(3), expected)


def test_a_network_is_that_of_its_images(few_digits, photographs):
    grey, colour = (build(Recipe(), data) for data in (few_digits, photographs))
    assert type(grey) is type(colour) is Net
    assert grey.features[0].in_channels == 1 and nn.ReLU in kinds(grey) and grey.classifier.out_features == 10
    assert colour.features[0].in_channels == 3 and nn.SiLU in kinds(colour) and colour.classifier.out_features == 3
    assert [layer.out_channels for layer in colour.features if isinstance(layer, nn.Conv2d)] == [*COLOUR["widths"]]


@pytest.mark.parametrize("norm, said", (("GN:3", "3 groups.*8 channels"), ("WS+GN:3", "3 groups.*8 channels")))
def test_groups_must_divide_the_channels(norm, said, few_digits):
    with pytest.raises(ValueError, match=said):
        build(Recipe(norm), few_digits)


def test_the_usual_recipe_depends_on_the_images(few_digits, photographs):
    assert usual_recipe(few_digits) == study_recipe("BN")
    assert usual_recipe(photographs, "GN:2") == study_recipe("GN:2", optimizer="muon", mirrored=True)
    changed = usual_recipe(photographs, "LN", optimizer="sgd", epochs=3, l1=1e-4)
    assert changed == study_recipe("LN", optimizer="sgd", mirrored=True, epochs=3, l1=1e-4)


def test_the_trainer_trains_what_is_built(few_digits):
    run = TRAINER(Recipe("GN:2", epochs=1, images=200), few_digits, progress=False)
    assert run.fingerprint["trainer"] == "train" and not run.failure and len(run.history) == 1
    failed = TRAINER(replace(run.recipe, norm="none", lr=1e20), few_digits, progress=False)
    assert failed.failure == "diverged" and failed.last == {}


@pytest.mark.parametrize("trainer", (TRAINER, SPLITTING), ids=lambda trainer: trainer.name)
def test_other_processes_can_have_the_trainers(trainer):
    assert pickle.loads(pickle.dumps(trainer)) == trainer
