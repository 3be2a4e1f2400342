"""The networks of other libraries whose normalizations are swapped: how each is made, and what it is given."""

from collections.abc import Callable
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any

import torch
from torch import Tensor, nn

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Network:
    """A network of a library.

    Attributes:
        shape: of an input without its batch axis.
        options: what it is made with, besides its name.
    """

    shape: Shape
    options: dict[str, Any] = field(default_factory=dict)

    def inputs(self) -> Tensor:
        """Make a batch of two inputs: numbers, or tokens for a network that knows some words."""
        generator = torch.Generator().manual_seed(0)
        if "vocab_size" in self.options:
            return torch.randint(WORDS, (2, *self.shape), generator=generator)
        return torch.randn(2, *self.shape, generator=generator)


IMAGE = (3, 64, 64)
GREY = (1, 64, 64)
VOLUME = (1, 32, 32, 32)
VIDEO = (3, 8, 32, 32)
TOKENS = (12,)
WORDS = 100  # how many different tokens there are


def _all(names: str, shape: Shape = IMAGE, **options: Any) -> dict[str, Network]:
    return {name: Network(shape, options) for name in names.split()}


TORCHVISION = (
    _all("resnet18 resnext50_32x4d densenet121 vgg11_bn mobilenet_v2 mobilenet_v3_small shufflenet_v2_x0_5 mnasnet0_5")
    | _all("efficientnet_b0 efficientnet_v2_s regnet_y_400mf convnext_tiny swin_t swin_v2_t")
    | _all("googlenet", aux_logits=False, init_weights=False)
    | _all("inception_v3", (3, 96, 96), aux_logits=False, init_weights=False)
    | _all("vit_b_16", image_size=64)
    | _all("lraspp_mobilenet_v3_large deeplabv3_mobilenet_v3_large", weights_backbone=None)
    | _all("r3d_18", VIDEO)
    | _all("maxvit_t", (3, 224, 224))
    | {"resnet18_fpn": Network(IMAGE)}
)
TIMM = (
    _all("test_byobnet test_resnet test_efficientnet test_efficientnet_gn test_efficientnet_ln")
    | _all("test_convnext test_convnext2 test_convnext3 test_mambaout")
    | _all("test_vit test_vit2 test_vit3 test_vit4", (3, 160, 160))
    | _all("test_maxvit test_coatnet", (3, 160, 160))
    | _all("resnet10t resnetv2_50 resnetv2_50x1_bit seresnet18 skresnet18 legacy_seresnet18")
    | _all("mobilenetv3_small_050 mobilenetv4_conv_small efficientnet_lite0 lcnet_050 tinynet_e ghostnet_050")
    | _all("repvgg_a0 mobileone_s0 repvit_m0_9 regnetx_002 dla34 hrnet_w18_small ese_vovnet19b_slim selecsls42b")
    | _all("convnext_atto convnext_atto_rms convnextv2_atto poolformer_s12 edgenext_xx_small mobilevit_xxs fastvit_t8")
    | _all("inception_next_atto starnet_s1 efficientvit_b0 mambaout_femto focalnet_tiny_srf")
    | _all("pvt_v2_b0")
    | _all("vit_tiny_patch16_224 deit_tiny_patch16_224 levit_128s pit_ti_224 xcit_nano_12_p16_224", (3, 224, 224))
    | _all("mixer_s32_224 coat_lite_tiny cait_xxs24_224", (3, 224, 224))
    | _all("aimv2_large_patch14_224", (3, 224, 224), depth=2, embed_dim=64, num_heads=2)
)
SEGMENTATION = _all("Unet UnetPlusPlus MAnet Linknet FPN PSPNet DeepLabV3Plus UPerNet Segformer")
SHAPES = {"in_channels": 1, "out_channels": 2}
MONAI = (
    _all("UNet", VOLUME, spatial_dims=3, channels=(8, 16, 32), strides=(2, 2), **SHAPES)
    | _all("BasicUNet", VOLUME, spatial_dims=3, features=(8, 8, 16, 16, 32, 8), **SHAPES)
    | _all("AttentionUnet", VOLUME, spatial_dims=3, channels=(8, 16), strides=(2,), **SHAPES)
    | _all("SegResNet VNet HighResNet", VOLUME, spatial_dims=3, **SHAPES)
    | _all("UNETR", VOLUME, img_size=(32, 32, 32), hidden_size=48, mlp_dim=96, num_heads=4, **SHAPES)
    | _all(
        "DynUNet",
        VOLUME,
        spatial_dims=3,
        kernel_size=(3, 3, 3),
        strides=(1, 2, 2),
        upsample_kernel_size=(2, 2),
        filters=(8, 16, 32),
        **SHAPES,
    )
    | _all("DenseNet121", GREY, spatial_dims=2, **SHAPES)
    | _all("SEResNet50", GREY, spatial_dims=2, in_channels=1, num_classes=2)
    | _all(
        "EfficientNetBN",
        GREY,
        model_name="efficientnet-b0",
        pretrained=False,
        spatial_dims=2,
        in_channels=1,
        num_classes=2,
    )
    | _all("SwinUNETR", (1, 64, 64, 64), feature_size=12, spatial_dims=3, **SHAPES)
)
SMALL = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
TRANSFORMERS = (
    _all("Bert DistilBert GPT2 T5Encoder Llama", TOKENS, vocab_size=WORDS, pad_token_id=0, **SMALL)
    | _all("Gemma Qwen3", TOKENS, vocab_size=WORDS, pad_token_id=0, head_dim=16, num_key_value_heads=2, **SMALL)
    | _all("ConvNext ConvNextV2", IMAGE, hidden_sizes=[8, 16, 32, 64], depths=[1, 1, 1, 1])
    | _all("ResNet RegNet", IMAGE, embedding_size=16, hidden_sizes=[16, 32], depths=[2, 2], groups_width=8)
    | _all("Dinov2", IMAGE, image_size=64, patch_size=16, **SMALL)
    | _all("Wav2Vec2", (800,), **SMALL, conv_dim=(16, 16), conv_kernel=(10, 3), conv_stride=(5, 2))
)


def _of_torchvision(name: str) -> nn.Module:
    from torchvision import models

    if name == "resnet18_fpn":  # of its detectors, with frozen batch norm
        backbone = models.detection.backbone_utils.resnet_fpn_backbone
        fpn: nn.Module = backbone(backbone_name="resnet18", weights=None)
        return fpn
    net: nn.Module = models.get_model(name, weights=None, num_classes=3, **TORCHVISION[name].options)
    return net


def _of_timm(name: str) -> nn.Module:
    net: nn.Module = import_module("timm").create_model(name, num_classes=3, **TIMM[name].options)
    return net


def _of_segmentation(name: str) -> nn.Module:
    encoder = "mit_b0" if name == "Segformer" else "resnet18"
    make = getattr(import_module("segmentation_models_pytorch"), name)
    net: nn.Module = make(encoder_name=encoder, encoder_weights=None, classes=2)
    return net


def _of_monai(name: str) -> nn.Module:
    net: nn.Module = getattr(import_module("monai.networks.nets"), name)(**MONAI[name].options)
    return net


def _of_transformers(name: str) -> nn.Module:
    transformers = import_module("transformers")
    config = getattr(transformers, f"{name.removesuffix('Encoder')}Config")(**TRANSFORMERS[name].options)
    net: nn.Module = getattr(transformers, f"{name}Model")(config)
    return net


Make = Callable[[str], nn.Module]
LIBRARIES: dict[str, tuple[Make, dict[str, Network]]] = {
    "torchvision": (_of_torchvision, TORCHVISION),
    "timm": (_of_timm, TIMM),
    "segmentation-models-pytorch": (_of_segmentation, SEGMENTATION),
    "transformers": (_of_transformers, TRANSFORMERS),
    "monai": (_of_monai, MONAI),
}
