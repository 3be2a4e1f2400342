"""Which normalization suits a network on a folder of photographs? The answer is printed, and written as a page.

    python examples/photographs.py photos/ --size 64

`photos/` has a folder of images for each class, or train/ and test/ with such folders.
"""

from pathlib import Path

import tyro
from resnet8 import build

import normbench as nb


def main(
    photos: tyro.conf.Positional[str],
    size: int = 64,
    epochs: int = 20,
    batch_size: int = 32,
    seeds: int = 5,
    output: Path = Path("runs/photographs"),
) -> None:
    """Compare batch, group, layer and no normalization in a small residual network.

    Args:
        photos: the folder.
        size: pixels to which each image is brought.
        epochs: how often a run sees every training image.
        batch_size: images per step.
        seeds: runs per normalization.
        output: where finished runs and the page are kept. After a stop, the same call goes on.
    """
    data = nb.load(f"{photos}/", size=size)  # with a slash it is a folder
    print(f"{len(data.y_train):,} training and {len(data.y_test):,} test images of {', '.join(data.classes)}")
    found = nb.compare(
        build,
        data,
        arms=("BN", "GN", "LN", "none"),
        seeds=seeds,
        epochs=epochs,
        batch_size=batch_size,
        folder=output,
    )
    page = output / "report.html"
    page.write_text(found.page(), encoding="utf-8")
    print(f"\n{found.answer}\n\nTables and figures: {page}")


if __name__ == "__main__":
    tyro.cli(main)
