import pytest
import torch
from torch import nn

from benchmarks import cost, loop, search
from model import COLOUR, Net
from normbench.train import Config, build

IN_USE = "8k5v P 8 16 P 16 16 H"  # model.Net in the search's notation
IN_USE_FOR_COLOUR = "16 24 P 32 32 P 40 40 H"


def test_study_a_has_the_published_number_of_parameters():
    net = loop.study_a("BN")
    assert sum(p.numel() for p in net.parameters()) == 8040
    assert net(torch.zeros(2, 1, 28, 28)).shape == (2, 10)


def test_all_four_loops_train_an_epoch(few_digits):
    row = loop.compare("GN", few_digits, rounds=1)
    assert tuple(row["seconds"]) == loop.LOOPS and min(row["seconds"].values()) > 0


def test_the_conventional_loop_trains(few_digits):
    config = Config(batch_size=100, lr=0.01)
    net = build(config, few_digits)
    before = nn.utils.parameters_to_vector(net.parameters()).clone()
    loop.conventional_epoch(config, few_digits, net)()
    assert not torch.equal(before, nn.utils.parameters_to_vector(net.parameters()))


@pytest.mark.parametrize("nm", ("BN", "LN"))
def test_the_search_s_notation_of_the_network_in_use(nm):
    net, written, x = Net(nm), search.network(IN_USE, nm), torch.randn(4, 1, 28, 28)
    for p, q in zip(net.parameters(), written.parameters(), strict=True):
        q.data.copy_(p)
    torch.testing.assert_close(net(x), written(x))


def test_the_search_s_notation_of_the_network_for_colour():
    net = Net("GN", **COLOUR)
    written = search.network(IN_USE_FOR_COLOUR, "GN", (3, 32, 32), standardized=True, activation=nn.SiLU)
    for p, q in zip(net.parameters(), written.parameters(), strict=True):
        q.data.copy_(p)
    x = torch.randn(4, 3, 32, 32)
    torch.testing.assert_close(net(x), written(x))


@pytest.mark.parametrize(
    "layers, parameters",
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
def test_the_search_s_notation(layers, parameters):
    net = search.network(layers, "BN")
    assert sum(p.numel() for p in net.parameters()) == parameters
    assert net(torch.zeros(2, 1, 28, 28)).shape == (2, 10)


def test_the_cost_figure_shows_what_grows():
    seconds = {"ours": 1.0, "conventional": 8.0}
    rows = [
        {"loop": name, "seconds": seconds[name] * i, "peak_mib": 100, "dataset": "made-up", "device": "CPU"} | setting
        for name in cost.LOOPS
        for i, setting in enumerate(cost.settings(), 1)
    ]
    figure = cost.plot_cost(rows)
    for column, (axis, values) in enumerate(cost.AXES.items()):
        for line, name in zip(figure.axes[column].lines, cost.LOOPS, strict=True):
            assert line.get_xdata().tolist() == list(values)
            expected = [row["seconds"] * cost.EPOCHS for row in cost.along(axis, rows) if row["loop"] == name]
            assert line.get_ydata().tolist() == expected


def test_every_cost_is_measured_once():
    assert len(cost.settings()) == sum(map(len, cost.AXES.values())) - 2
