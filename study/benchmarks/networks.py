"""Swap the normalizations of other libraries' networks, and hold what comes out against what went in.

    pip install timm segmentation-models-pytorch monai einops transformers onnxscript onnxruntime
    python -m study.benchmarks.networks [LIBRARY:NETWORK …]

Each network is made with random weights and run on two small inputs. A row of study/results/networks.jsonl says what
is replaced and what is left; whether the network computes the same with each layer made anew as the kind that it was
taken for; whether its outputs are finite in training with other normalizations; and whether it can still be scripted,
traced, compiled, exported, also to ONNX, copied and saved. Networks that have a row already are passed over, unless
they are named. The networks are in `study.benchmarks.libraries`.
"""

import argparse
import copy
import gc
import logging
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from importlib import import_module, metadata
from typing import Any

import torch
from torch import Tensor, nn

from normbench.device import seeded
from normbench.swapping import Known, rebuilt, recognize, swap, swapped
from study.benchmarks.libraries import LIBRARIES
from study.benchmarks.rows import RESULTS, Row, append, read, write

SAVED = RESULTS / "networks.jsonl"
NORMS = ("GN", "none", "RMS", "DyT")
MOST_EXPORTED = 30  # layers of a network that is scripted and exported, which takes long for others


def tried(library: str, name: str) -> Row:
    """Swap the normalizations of a network in several ways, and tell what came of it."""
    make, networks = LIBRARIES[library]
    with seeded(0):
        net = _unlike_at_first(make(name)).eval()
    x = networks[name].inputs()
    found = {path: recognize(layer) for path, layer in net.named_modules()}
    group_norm, report = swapped(net, "GN", x)
    left = Counter(why for why in report.left.values())
    return {
        "library": library,
        "version": metadata.version(library),
        "network": name,
        "parameters": sum(values.numel() for values in net.parameters()),
        "replaced": dict(Counter(known.kind for known in found.values() if isinstance(known, Known))),
        "left": dict(left),
        "same": _difference(net(x), rebuilt(net, x).eval()(x)),
        "finite": {norm: _is_finite(net, norm, x) for norm in NORMS},
        "after": {
            what: _survives(use, group_norm.eval(), net, x)
            for what, use in USES.items()
            if what not in SLOW or len(report.replaced) <= MOST_EXPORTED
        },
    }


def _unlike_at_first(net: nn.Module) -> nn.Module:
    """Give γ, β, running averages and weights of 0 other numbers than the first, with which mistakes would not show."""
    with torch.no_grad():
        for layer in net.modules():
            if isinstance(recognize(layer), Known):
                for values in layer.state_dict().values():
                    if values.is_floating_point():
                        values.uniform_(0.7, 1.3)
        for values in net.parameters():
            if values.ndim > 1 and not values.any():  # a head that starts at 0
                values.normal_(std=0.02)
    return net


def _tensors(outputs: Any) -> Iterator[Tensor]:
    if isinstance(outputs, Tensor):
        yield outputs
    elif isinstance(outputs, (dict, list, tuple)):
        for part in outputs.values() if isinstance(outputs, dict) else outputs:
            yield from _tensors(part)


def _difference(first: Any, second: Any) -> float:
    """The largest difference of two outputs, as a share of the largest number."""
    pairs = list(zip(_tensors(first), _tensors(second), strict=True))
    largest = max(float(a.detach().abs().max()) for a, _ in pairs)
    return max(float((a - b).abs().max()) for a, b in pairs) / largest


def _is_finite(net: nn.Module, norm: str, x: Tensor) -> bool | str:
    """Whether a network with another normalization has finite outputs in training; the error if it fails."""
    try:
        with seeded(0), torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of what is left, which has a column of its own
            return all(bool(y.isfinite().all()) for y in _tensors(swap(net, norm).train()(x)))
    except Exception as error:
        return _in_short(error)


def _saved(net: nn.Module, x: Tensor) -> nn.Module:
    other = copy.deepcopy(net)
    for values in other.parameters():
        values.data.zero_()
    other.load_state_dict(net.state_dict())
    return other


def _compiled(net: nn.Module, x: Tensor) -> Callable[..., Any]:
    torch.compiler.reset()
    compiled: Callable[..., Any] = torch.compile(net, backend="aot_eager")  # which makes no code, and so is quick
    return compiled


def _to_onnx(net: nn.Module, x: Tensor) -> Callable[..., Any]:
    program: Any = torch.onnx.export(net, (x,), dynamo=True, verbose=False)
    model = program.model_proto.SerializeToString()
    session = import_module("onnxruntime").InferenceSession(model, providers=["CPUExecutionProvider"])
    given = session.get_inputs()[0].name
    return lambda x: [torch.from_numpy(y) for y in session.run(None, {given: x.numpy()})]


USES: dict[str, Callable[[nn.Module, Tensor], Callable[..., Any]]] = {
    "script": lambda net, x: torch.jit.script(net),
    "trace": lambda net, x: torch.jit.trace(net, x, check_trace=False),
    "compile": _compiled,
    "export": lambda net, x: torch.export.export(net, (x,)).module(),
    "ONNX": _to_onnx,
    "copy": lambda net, x: copy.deepcopy(net),
    "state": _saved,
}


SLOW = ("script", "compile", "export", "ONNX")


def _survives(use: Callable[[nn.Module, Tensor], Callable[..., Any]], new: nn.Module, old: nn.Module, x: Tensor) -> str:
    """Say "yes" if a use of the new network gives what the network itself does; "never" if it fails on the old too."""
    if (failure := _fails(use, new, x)) is None:
        return "yes"
    return f"no: {failure}" if _fails(use, old, x) is None else "never"


def _fails(use: Callable[[nn.Module, Tensor], Callable[..., Any]], net: nn.Module, x: Tensor) -> str | None:
    try:
        with torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            difference = _difference(net(x), use(copy.deepcopy(net), x)(x))
    except Exception as error:
        return _in_short(error)
    return None if difference < 1e-3 else f"differs by {difference:.1e}"


def _in_short(error: Exception) -> str:
    return f"{type(error).__name__}: {str(error).strip()}".splitlines()[0][:160]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("networks", nargs="*", help="LIBRARY:NETWORK; by default all that have no row yet")
    wanted = parser.parse_args().networks
    torch.set_num_threads(1)  # so small inputs gain nothing from a second one
    logging.disable(logging.WARNING)  # of the exporters
    rows = read(SAVED) if SAVED.exists() else []
    done = {f"{row['library']}:{row['network']}" for row in rows}
    if wanted:
        write([row for row in rows if f"{row['library']}:{row['network']}" not in wanted], SAVED)
    for library, (_, networks) in LIBRARIES.items():
        for name in networks:
            key = f"{library}:{name}"
            if key not in wanted if wanted else key in done:
                continue
            started = time.perf_counter()
            try:
                append(tried(library, name), SAVED)
                print(f"{key}: {time.perf_counter() - started:.0f} s", flush=True)
            except Exception as error:  # the others go on
                print(f"{key}: {_in_short(error)}", flush=True)
            gc.collect()


if __name__ == "__main__":
    with torch.no_grad():
        main()
