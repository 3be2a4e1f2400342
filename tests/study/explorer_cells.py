"""What is typed into the interactive page, and read from it."""

import torch

METHODS = ("BN", "GN", "LN", "IN")
PER_PIXEL = ("LN_C", "RMS")


def cell(i):
    """The selector of number i of the batch."""
    return f"#batch [data-i='{i}'] input"


def put(page, x):
    """Type a batch x (N, C, H, W) into the page."""
    for axis, length in zip("NCHW", x.shape):
        page.select_option(f"#{axis}", str(length))
    for i, value in enumerate(x.flatten().tolist()):
        page.fill(cell(i), f"{value:g}")


def results(page):
    """What the page computes, and what it shows: two tensors."""
    shown = page.locator("#batch .y").all_inner_texts()
    numbers = torch.tensor([float(text.replace("−", "-")) for text in shown])
    return torch.tensor(page.evaluate("explorer.normalize()"), dtype=torch.float64), numbers.double()


def changed(page):
    """Of how many images a result is marked as changed, by image."""
    cells = page.locator("#batch .cell").evaluate_all("cells => cells.map(cell => cell.classList.contains('changed'))")
    return torch.tensor(cells).view(page.evaluate("explorer.state.shape")).sum(dim=(1, 2, 3)).tolist()
