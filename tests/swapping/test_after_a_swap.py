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
    if norm == "IN" and what == "vectors":
        return  # one number per channel, of which nothing would be left
    new = swap(randomized(net), norm, x if is_seen else None).eval()
    expected = new(x)
    expected.view(len(x), -1)
    assert expected.stride() == net(x).stride()
    other = swap(net, norm, x if is_seen else None).eval()
    other.load_state_dict(new.state_dict())
    traced = torch.jit.trace(new, x)
    for same in (torch.jit.script(new), torch.fx.symbolic_trace(new), traced, copy.deepcopy(new), other):
        torch.testing.assert_close(same(x), expected)


@pytest.mark.parametrize("what", ("2-D", "vectors", "tokens"))
@pytest.mark.parametrize("norm", ("GN", "LN", "RMS", "DyT", "none", "LN_C", "BRN", "BN:2", "WS+GN"))
def test_export_and_compile_after_a_swap(what, norm):
    net, shape = NETS[what]
    if norm == "WS+GN" and what != "2-D":
        return
    x = torch.randn(shape)
    new = swap(randomized(net), norm, x).eval()
    batch = ({0: torch.export.Dim("batch", min=2, max=64)},)
    exported = torch.export.export(new, (x,), dynamic_shapes=batch).module()
    torch.testing.assert_close(exported(x[:2]), new(x[:2]))
    torch._dynamo.reset()  # of what other tests compiled
    compiled = torch.compile(copy.deepcopy(new).train(), backend="eager", fullgraph=True)
    torch.testing.assert_close(compiled(x), new.train()(x))
