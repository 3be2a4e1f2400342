from dataclasses import replace

import pytest
import torch
from torch import nn

from model import COLOUR, WIDTHS, Net
from normbench.layers import Affine, StandardizedConv2d
from normbench.swapping import swap
from normbench.training import Recipe
from study import CHECKOUT
from study.benchmarks import cost, libraries, loop, networks, pretrained, raced, rows, search, step, without
from study.networks import build

IN_USE = "8k5v P 8 16 P 16 16 H"  # model.Net in the search's notation
IN_USE_FOR_COLOUR = "16 24 P 32 32 P 40 40 H"


def parameters(net):
    return sum(p.numel() for p in net.parameters())


def test_study_a_has_the_published_number_of_parameters():
    net = loop.study_a("BN")
    assert parameters(net) == 8040
    assert net(torch.zeros(2, 1, 28, 28)).shape == (2, 10)


def test_all_four_loops_train_an_epoch(few_digits):
    row = loop.compare("GN", few_digits, rounds=1)
    assert tuple(row["seconds"]) == loop.LOOPS and min(row["seconds"].values()) > 0


@pytest.mark.parametrize("way", (loop.conventional_epoch, loop.our_epoch, loop.floor_epoch))
def test_an_epoch_of_each_way_moves_the_weights(way, few_digits):
    recipe = Recipe(batch_size=100, lr=0.01, epochs=1)
    net = build(recipe, few_digits)
    before = [p.clone() for p in net.parameters()]
    way(recipe, few_digits, net)()
    assert not any(torch.equal(p, q) for p, q in zip(before, net.parameters(), strict=True))


def test_the_times_of_a_step_are_those_of_its_operations(few_digits):
    times = step.step_times(IN_USE, "BN", few_digits, steps=1)
    assert tuple(times) == step.COLUMNS
    assert min(times[name] for name in ("optimizer", "convolution", "normalization")) > 0


@pytest.mark.parametrize("nm", ("BN", "LN"))
def test_the_search_s_notation_of_the_network_in_use(nm):
    net, written, x = Net(nm), search.network(IN_USE, nm), torch.randn(4, 1, 28, 28)
    for p, q in zip(net.parameters(), written.parameters(), strict=True):
        q.data.copy_(p)
    torch.testing.assert_close(net(x), written(x))


@pytest.mark.parametrize("standardized", (False, True))
def test_the_search_s_notation_of_the_network_for_colour(standardized):
    net = Net("GN", **COLOUR)
    if standardized:
        net = swap(net, "WS+GN:2")
        assert any(isinstance(layer, StandardizedConv2d) for layer in net.modules())
    written = search.network(IN_USE_FOR_COLOUR, "GN", (3, 32, 32), standardized=standardized, activation=nn.SiLU)
    for p, q in zip(net.parameters(), written.parameters(), strict=True):
        q.data.copy_(p)
    x = torch.randn(4, 3, 32, 32)
    torch.testing.assert_close(net(x), written(x))


@pytest.mark.parametrize(
    "layers, numbers",
    (
        ("8k5v", 8 * 25 + 2 * 8 + 90),
        ("8t2 M", 8 * 9 + 2 * 8 + 90),
        ("8 s16", 8 * 9 + 8 * 9 + 8 * 16 + 2 * 24 + 170),
        ("8t2v P H", 8 * 9 + 2 * 8 + 8 * 36 + 90),
        ("8 8r P", 8 * 9 + 8 * 72 + 4 * 8 + 90),
        ("8 16g4 8k1", 8 * 9 + 16 * 18 + 16 * 8 + 2 * 32 + 90),
        ("8 n16", 8 * 9 + 8 * 9 + 8 * 16 + 2 * (8 + 8 + 16) + 170),
    ),
)
def test_the_search_s_notation(layers, numbers):
    net = search.network(layers, "BN")
    assert parameters(net) == numbers
    assert net(torch.zeros(2, 1, 28, 28)).shape == (2, 10)


def test_the_search_scores_on_held_out_images_and_says_what_was_changed(few_digits, monkeypatch):
    held_out = len(few_digits.y_train) // 4
    monkeypatch.setattr(search, "HELD_OUT", held_out)
    monkeypatch.setattr(search, "load", lambda name: few_digits)
    recipe = Recipe("GN:4", epochs=1, batch_size=64)
    row = search.tried("4t2 8t2", recipe, activation=nn.SiLU)
    assert row["nm"] == "GN" and row["parameters"] == parameters(search.network("4t2 8t2", "GN"))
    assert row["change"] == "batch 64, groups of GN: 4, SiLU, 1 epochs"
    right = row["accuracy"] * held_out / 100
    assert abs(right - round(right)) < 0.01 * held_out  # a share of as many images


def test_the_cost_figure_shows_what_grows():
    seconds = {"ours": 1.0, "conventional": 8.0}
    measured = [
        {"loop": name, "seconds": seconds[name] * i, "peak_mib": 100, "dataset": "made-up", "device": "CPU"} | setting
        for name in cost.LOOPS
        for i, setting in enumerate(cost.settings(), 1)
    ]
    figure = cost.plot_cost(measured)
    for row, (axis, values) in enumerate(cost.AXES.items()):
        for line, name in zip(figure.axes[2 * row].lines, cost.LOOPS, strict=True):
            assert line.get_xdata().tolist() == list(values)
            expected = [one["seconds"] * cost.EPOCHS for one in cost.along(axis, measured) if one["loop"] == name]
            assert line.get_ydata().tolist() == expected


def test_every_cost_is_measured_once():
    assert len(cost.settings()) == sum(map(len, cost.AXES.values())) - 2


def test_the_cost_of_width_is_that_of_a_wider_network(few_digits):
    usual = cost.network(few_digits)
    assert parameters(usual) == parameters(build(Recipe("GN:2"), few_digits))
    wider = [layer.out_channels for layer in cost.network(few_digits, 4).features if isinstance(layer, nn.Conv2d)]
    assert wider == [4 * width for width in WIDTHS]
    in_colour = {part: getattr(few_digits, part).expand(-1, 3, -1, -1) for part in ("x_train", "x_test")}
    assert parameters(cost.network(replace(few_digits, **in_colour))) > 2 * parameters(usual)


def test_a_cost_is_measured(few_digits, monkeypatch):
    monkeypatch.setattr(cost, "load", lambda name, device: few_digits)
    setting = {"batch_size": 64, "images": 128, "width": 2}
    row = cost.measure("ours", setting, "digits", "cpu")
    assert row.items() >= setting.items() and row["seconds"] > 0 and row["peak_mib"] > 10


def test_rows_are_kept_a_line_each(tmp_path):
    path = tmp_path / "rows.jsonl"
    rows.write([{"a": 1}], path)
    rows.append({"b": [2.5]}, path)
    assert rows.read(path) == [{"a": 1}, {"b": [2.5]}]


def test_benchmarks_write_beside_the_study_wherever_they_are_started(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert cost.SAVED.is_absolute() and cost.SAVED.parent == rows.RESULTS
    assert rows.RESULTS.parent.name == "study" and rows.IMAGES.is_dir()


def test_a_swapped_network_has_a_row(monkeypatch):
    def build(name):
        return nn.Sequential(
            nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.LocalResponseNorm(3), nn.GroupNorm(2, 8)
        )

    monkeypatch.setitem(networks.LIBRARIES, "torch", (build, {"small": libraries.Network((3, 8, 8))}))
    row = networks.tried("torch", "small")
    assert row["replaced"] == {"BN": 1, "GN": 1} and list(row["left"].values()) == [1]
    assert row["same"] < 1e-5 and set(row["finite"].values()) == {True}
    assert row["after"].pop("ONNX") in ("yes", "never"), "never without onnxruntime"
    assert row["after"] == dict.fromkeys(("script", "trace", "compile", "export", "copy", "state"), "yes")


def test_networks_of_other_libraries_get_images_volumes_or_tokens():
    assert libraries.MONAI["UNet"].inputs().shape == (2, 1, 32, 32, 32)
    tokens = libraries.TRANSFORMERS["Llama"].inputs()
    assert tokens.shape == (2, 12) and not tokens.is_floating_point() and int(tokens.max()) < libraries.WORDS
    assert libraries.TRANSFORMERS["Wav2Vec2"].inputs().is_floating_point()
    assert sum(len(some) for _, some in libraries.LIBRARIES.values()) > 100 and len(libraries.LIBRARIES) == 5


def test_the_guide_says_what_was_left_of_a_trained_network():
    guide = (rows.STUDY.parent / "docs" / "normbench.md").read_text(encoding="utf-8")
    measured = rows.read(pretrained.SAVED)
    assert [row["norm"] for row in measured] == ["own", *pretrained.NORMS]
    for row in measured[1:]:
        line = next(
            line for line in guide.splitlines() if line.startswith("|") and f"`{row['norm']}`" in line and "%" in line
        )
        assert f"| {row['with']:.1f} % | {row['without']:.1f} % |" in line


def test_the_guide_says_how_many_runs_races_took():
    guide = (CHECKOUT / "docs/normbench.md").read_text(encoding="utf-8")
    held = rows.read(raced.SAVED)
    assert "\n".join(raced.table(held)) in guide
    assert all(row["raced"]["left"][0] == row["fixed"]["left"][0] for row in held), "the same arm is in front each time"
    lost = [points for row in held for trial in row["short"] for points in trial["lost_by_the_first"]]
    assert f"up to {max(lost):.0f} points" in guide
    saved = [1 - row["raced"]["seeds"] / (row["arms"] * row["seeds"]) for row in held]
    assert f"seeds, {100 * min(saved):.0f} to {100 * max(saved):.0f} %," in guide
    transformer = next(row for row in held if row["name"] == "transformer")
    assert [f"{transformer[design]['means']['BN']:.2f}" for design in ("raced", "fixed")] == ["97.56", "94.96"]


def test_the_guide_says_what_none_reached_with_each_start():
    guide = (CHECKOUT / "docs/normbench.md").read_text(encoding="utf-8")
    measured = rows.read(without.SAVED)
    assert "\n".join(without.table(measured)) in guide
    for way, said in (("first batch, ends 0", "{} of 20 runs learned"), ("bare", "bare networks {} of 20 did")):
        fresh = [row for row in measured if row["part"] == "test" and row["way"] == way]
        assert len(fresh) == 20 and said.format(sum((row["accuracy"] or 0) > 50 for row in fresh)) in guide


@pytest.mark.parametrize("name", without.NETWORKS)
@pytest.mark.parametrize(
    "way, at_ends", (("first batch", 1), ("first batch, ends 1/√n", None), ("first batch, ends 0", 0))
)
def test_a_scale_of_the_first_batch_makes_that_batch_as_large_as_the_way_says(name, way, at_ends, few_digits):
    images = few_digits.standardize(few_digits.x_train[:128])
    ends = {path for path, layer in without.network(name, "ends 0", 0, few_digits).named_modules() if is_zero(layer)}
    assert len(ends) == {"plain": 0, "MobileNetV2": 4}.get(name, 6)
    net = without.network(name, way, 0, few_digits).eval()
    deviations = {}
    for path, layer in net.named_modules():
        if isinstance(layer, Affine):
            layer.register_forward_hook(lambda *a, path=path: deviations.update({path: a[2].std().item()}))
    with torch.no_grad():
        net(images)
    assert len(deviations) >= 6
    at_ends = without.ADDED.get(name, 1) ** -0.5 if at_ends is None else at_ends
    assert all(deviations[path] == pytest.approx(at_ends if path in ends else 1, rel=1e-3) for path in deviations)


def is_zero(layer):
    return isinstance(layer, Affine) and not layer.scale.any()
