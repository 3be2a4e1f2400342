import torch
import torch.fx
import torch.nn.functional as F
from made_up_layers import BNReLU, vector
from torch import nn
from torch.nn.utils import parametrizations, prune
from torchvision.ops import Conv2dNormActivation, Permute

from normbench.swapping import Known, normalizations, recognize, unknown


def test_names_of_containers_and_of_other_things():
    class PreNorm(nn.Module):
        def __init__(self):
            super().__init__()
            self.scale, self.norm, self.inner = vector(8), nn.LayerNorm(8), nn.Linear(8, 8)

        def forward(self, x):
            return x + self.scale * self.inner(self.norm(x))

    class NormFreeBlock(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.gain = nn.Conv2d(8, 8, 1), nn.Parameter(torch.zeros(()))

    class Normalize(nn.Module):
        def __init__(self):
            super().__init__()
            self.register_buffer("mean", torch.zeros(3, 1, 1))

    class NormalHead(nn.Linear):
        pass

    class LayerScale(nn.Module):
        def __init__(self):
            super().__init__()
            self.gamma = vector(8)

        def forward(self, x):
            return x * self.gamma

    containers = [
        *(Conv2dNormActivation(3, 8, norm_layer=None), PreNorm(), NormFreeBlock(), Normalize(), NormalHead(8, 8)),
        *(LayerScale(), nn.PReLU(8), Permute([0, 1]), nn.utils.weight_norm(nn.Linear(8, 8))),
        *(parametrizations.spectral_norm(nn.Linear(8, 8)), parametrizations.weight_norm(nn.Conv2d(3, 8, 1))),
        *(nn.Linear(8, 8), nn.LSTM(8, 8), nn.MultiheadAttention(8, 2), nn.Embedding(8, 8)),
    ]
    net = nn.ModuleList([*containers, nn.BatchNorm2d(8)])
    assert unknown(net) == {} and list(normalizations(net)) == ["1.norm", str(len(containers))]


def test_a_changed_forward_is_seen():
    layer = nn.BatchNorm2d(8)
    layer.forward = lambda x: 3 * F.batch_norm(x, layer.running_mean, layer.running_var)
    assert isinstance(recognize(layer), str)


def test_a_layers_hooks_are_not_called():
    layer, calls = BNReLU(8), []
    layer.register_forward_hook(lambda *_: calls.append(1))
    layer.register_forward_pre_hook(lambda *_: calls.append(1))
    assert isinstance(recognize(layer), Known) and not calls


def test_a_pruned_layer_of_another_make():
    layer = prune.l1_unstructured(BNReLU(8), "weight", amount=0.5)
    layer(torch.randn(2, 8, 3, 3))
    known = recognize(layer)
    assert isinstance(known, Known) and (known.weight == 0).sum() == 4
