import copy

import pytest
import torch
import torch.fx
from made_up_layers import NETS, randomized

from normbench.layers import (
    NORMALIZATIONS,
)
from normbench.swapping import swap


@pytest.mark.parametrize("is_seen", (False, True))
@pytest.mark.parametrize("norm", [*(norm for norm in NORMALIZATIONS if norm != "LN_CHW"), "BN:2", "GN:4"])
@pytest.mark.parametrize("what", NETS)
def test_script_trace_copies_and_view_after_a_swap(what, norm, is_seen):
    net, shape = NETS[what]
    x = torch.randn(shape)
    new = swap(randomized(net), norm, x if is_seen else None).eval()
    if norm == "IN" and what == "vectors":
        return
    expected = new(x)
    expected.view(len(x), -1)
    assert expected.stride() == net(x).stride()
    other = swap(net, norm, x if is_seen else None).eval()
    other.load_state_dict(new.state_dict())
    traced = torch.jit.trace(new, x)
    for same in (torch.jit.script(new), torch.fx.symbolic_trace(new), traced, copy.deepcopy(new), other):
        torch.testing.assert_close(same(x), expected)
