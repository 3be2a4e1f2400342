"""Swap the normalizations of other libraries' networks, and hold what comes out against what went in.

    pip install timm segmentation-models-pytorch monai einops
    python -m study.benchmarks.networks [LIBRARY:NETWORK …]

Each network is made with random weights and run on two small inputs. A row of study/results/networks.jsonl says what
is replaced and what is left; whether the network computes the same with each layer made anew as the kind that it was
taken for; whether its outputs are finite in training with other normalizations; and whether it can still be scripted,
traced, exported, copied and saved. Networks that have a row already are passed over, unless they are named.
"""

import argparse
import copy
import gc
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
from study.benchmarks.rows import RESULTS, Row, append, read, write

SAVED = RESULTS / "networks.jsonl"
NORMS = ("GN", "none", "RMS", "DyT")
MOST_EXPORTED = 30  # layers of a network that is scripted and exported, which takes long for others
Shapes = dict[str, tuple[int, ...]]
IMAGE: tuple[int, ...] = (3, 64, 64)
VOLUME = (1, 32, 32, 32)

TORCHVISION: Shapes = {
    name: IMAGE
    for name in (
        *("resnet18", "resnext50_32x4d", "densenet121", "vgg11_bn", "mobilenet_v2", "mobilenet_v3_small"),
        *("efficientnet_b0", "efficientnet_v2_s", "shufflenet_v2_x0_5", "mnasnet0_5", "regnet_y_400mf", "googlenet"),
        *("convnext_tiny", "swin_t", "swin_v2_t", "vit_b_16", "lraspp_mobilenet_v3_large"),
    )
} | {"inception_v3": (3, 96, 96), "r3d_18": (3, 8, 32, 32)}
TIMM: Shapes = {
    name: IMAGE
    for name in (
        *("resnet10t", "resnetv2_50", "resnetv2_50x1_bit", "resnetblur50", "res2net50_14w_8s", "skresnet18"),
        *("seresnet18", "legacy_seresnet18", "mobilenetv3_small_050", "mobilenetv4_conv_small", "efficientnet_lite0"),
        *("tf_efficientnetv2_b0", "fbnetc_100", "hardcorenas_a", "lcnet_050", "tinynet_e", "ghostnet_050", "repvgg_a0"),
        *("regnetx_002", "darknet17", "cspresnet50", "dla34", "hrnet_w18_small", "vovnet39a", "xception41", "dpn48b"),
        *("convnext_atto", "convnextv2_atto", "poolformer_s12", "edgenext_xx_small", "mobilevit_xxs", "fastvit_t8"),
        *("inception_next_atto", "starnet_s1", "efficientformer_l1", "nf_regnet_b0"),
    )
} | {
    name: (3, 224, 224)
    for name in ("vit_tiny_patch16_224", "deit_tiny_patch16_224", "levit_128s", "pit_ti_224", "xcit_nano_12_p16_224")
}
SEGMENTATION: Shapes = {
    name: (3, 64, 64)
    for name in ("Unet", "UnetPlusPlus", "MAnet", "Linknet", "FPN", "PSPNet", "DeepLabV3Plus", "UPerNet", "Segformer")
}
MONAI: dict[str, tuple[tuple[int, ...], dict[str, Any]]] = {
    "UNet": (VOLUME, dict(spatial_dims=3, in_channels=1, out_channels=2, channels=(8, 16, 32), strides=(2, 2))),
    "BasicUNet": (VOLUME, dict(spatial_dims=3, in_channels=1, out_channels=2, features=(8, 8, 16, 16, 32, 8))),
    "AttentionUnet": (VOLUME, dict(spatial_dims=3, in_channels=1, out_channels=2, channels=(8, 16), strides=(2,))),
    "SegResNet": (VOLUME, dict(spatial_dims=3, in_channels=1, out_channels=2)),
    "VNet": (VOLUME, dict(spatial_dims=3, in_channels=1, out_channels=2)),
    "HighResNet": (VOLUME, dict(spatial_dims=3, in_channels=1, out_channels=2)),
    "UNETR": (
        VOLUME,
        dict(in_channels=1, out_channels=2, img_size=(32, 32, 32), hidden_size=48, mlp_dim=96, num_heads=4),
    ),
    "SwinUNETR": ((1, 64, 64, 64), dict(in_channels=1, out_channels=2, feature_size=12, spatial_dims=3)),
    "DynUNet": (
        VOLUME,
        dict(
            spatial_dims=3,
            in_channels=1,
            out_channels=2,
            kernel_size=(3, 3, 3),
            strides=(1, 2, 2),
            upsample_kernel_size=(2, 2),
            filters=(8, 16, 32),
        ),
    ),
    "DenseNet121": ((1, 64, 64), dict(spatial_dims=2, in_channels=1, out_channels=2)),
    "SEResNet50": ((1, 64, 64), dict(spatial_dims=2, in_channels=1, num_classes=2)),
    "EfficientNetBN": (
        (1, 64, 64),
        dict(model_name="efficientnet-b0", pretrained=False, spatial_dims=2, in_channels=1, num_classes=2),
    ),
}


def _of_torchvision(name: str) -> nn.Module:
    special: dict[str, dict[str, Any]] = {
        "googlenet": {"aux_logits": False, "init_weights": False},
        "inception_v3": {"aux_logits": False, "init_weights": False},
        "vit_b_16": {"image_size": IMAGE[1]},
        "lraspp_mobilenet_v3_large": {"weights_backbone": None},
    }
    from torchvision import models

    net: nn.Module = models.get_model(name, weights=None, num_classes=3, **special.get(name, {}))
    return net


def _of_timm(name: str) -> nn.Module:
    net: nn.Module = import_module("timm").create_model(name, num_classes=3)
    return net


def _of_segmentation(name: str) -> nn.Module:
    encoder = "mit_b0" if name == "Segformer" else "resnet18"
    make = getattr(import_module("segmentation_models_pytorch"), name)
    net: nn.Module = make(encoder_name=encoder, encoder_weights=None, classes=2)
    return net


def _of_monai(name: str) -> nn.Module:
    net: nn.Module = getattr(import_module("monai.networks.nets"), name)(**MONAI[name][1])
    return net


Make = Callable[[str], nn.Module]
LIBRARIES: dict[str, tuple[Make, Shapes]] = {
    "torchvision": (_of_torchvision, TORCHVISION),
    "timm": (_of_timm, TIMM),
    "segmentation-models-pytorch": (_of_segmentation, SEGMENTATION),
    "monai": (_of_monai, {name: shape for name, (shape, _) in MONAI.items()}),
}


def tried(library: str, name: str) -> Row:
    """Swap the normalizations of a network in several ways, and tell what came of it."""
    make, networks = LIBRARIES[library]
    with seeded(0):
        net = _unlike_at_first(make(name)).eval()
    x = torch.randn(2, *networks[name], generator=torch.Generator().manual_seed(0))
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
    """Give γ, β and running averages other numbers than the first ones, with which mistakes would not show."""
    with torch.no_grad():
        for layer in net.modules():
            if isinstance(recognize(layer), Known):
                for values in layer.state_dict().values():
                    if values.is_floating_point():
                        values.uniform_(0.7, 1.3)
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
    largest = max(float(a.abs().max()) for a, _ in pairs)
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


USES: dict[str, Callable[[nn.Module, Tensor], Callable[..., Any]]] = {
    "script": lambda net, x: torch.jit.script(net),
    "trace": lambda net, x: torch.jit.trace(net, x, check_trace=False),
    "export": lambda net, x: torch.export.export(net, (x,)).module(),
    "copy": lambda net, x: copy.deepcopy(net),
    "state": _saved,
}


SLOW = ("script", "export")


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
