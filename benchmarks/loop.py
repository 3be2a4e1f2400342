"""Seconds an epoch: this project's loop beside a conventional one, with the same network and batch.

    python -m benchmarks.loop [--dataset mnist] [--rounds 3] [--device cpu]

- conventional: DataLoader with 2 workers, torchvision's transforms image by image, loss and accuracy read
  after every batch;
- ours: `normbench.train`;
- floor: forward, backward and optimizer step on one fixed batch, no data, no augmentation.

The three alternate within one process, so that a slow minute of the machine hits all of them; the medians
are compared.
"""

import argparse
import statistics
import time

import torch
import torch.nn.functional as F
from torch.utils.data import DataLoader
from torchvision import transforms

from normbench import train as ours
from normbench.data import Dataset, load
from normbench.train import Config, build, device_name


class Images(torch.utils.data.Dataset):
    """The training images one by one, as a conventional loop reads them."""

    def __init__(self, data: Dataset):
        mean, std = (values.flatten().tolist() for values in data.mean_std)
        self.images, self.labels = data.x_train.cpu(), data.y_train.cpu()
        shift = tuple(2 / size for size in reversed(data.image_shape[1:]))
        self.transform = transforms.Compose(
            [
                transforms.ToPILImage(),
                transforms.RandomAffine(10, translate=shift, scale=(0.9, 1.1)),
                transforms.ToTensor(),
                transforms.Normalize(mean, std),
            ]
        )

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, i: int):
        return self.transform(self.images[i]), self.labels[i]


def conventional_epoch(config: Config, data: Dataset):
    net = build(config, data).to(data.device)
    optimizer = torch.optim.SGD(net.parameters(), lr=config.lr, momentum=0.9, weight_decay=config.weight_decay)
    loader = DataLoader(Images(data), batch_size=config.batch_size, shuffle=True, num_workers=2)

    def epoch():
        net.train()
        loss_sum = correct = 0
        for x, y in loader:
            x, y = x.to(data.device), y.to(data.device)
            optimizer.zero_grad()
            output = net(x)
            loss = F.nll_loss(output, y)
            loss.backward()
            optimizer.step()
            loss_sum += loss.item()
            correct += (output.argmax(dim=1) == y).sum().item()

    return epoch


def our_epoch(config: Config, data: Dataset, calls: int):
    net = ours.build(config, data).to(data.device, memory_format=torch.channels_last)
    steps = -(-len(data.y_train) // config.batch_size)
    optimizer, schedule = ours.make_optimizer(config, net, steps * calls)
    generator = torch.Generator().manual_seed(0)
    return lambda: ours.train_epoch(config, data, net, optimizer, schedule, generator)


def floor_epoch(config: Config, data: Dataset):
    net = build(config, data).to(data.device, memory_format=torch.channels_last)
    optimizer, _ = ours.make_optimizer(config, net, 1)
    x, y = data.standardize(data.x_train[: config.batch_size]), data.y_train[: config.batch_size]

    def epoch():
        net.train()
        for _ in range(-(-len(data.y_train) // config.batch_size)):
            loss = F.nll_loss(net(x), y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()

    return epoch


def timed(epoch, device: torch.device) -> float:
    start = time.perf_counter()
    epoch()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--dataset", default="auto")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--device", default="cpu")
    arguments = parser.parse_args()
    data = load(arguments.dataset, device=arguments.device)
    print(f"{data.name}, {len(data.y_train):,} training images, on {device_name(data.device)}; seconds an epoch")
    for nm in ("BN", "GN", "LN"):
        config = Config(nm)
        loops = {
            "conventional": conventional_epoch(config, data),
            "ours": our_epoch(config, data, arguments.rounds + 1),
            "floor": floor_epoch(config, data),
        }
        timed(loops["ours"], data.device)  # warm-up
        seconds = {name: [] for name in loops}
        for _ in range(arguments.rounds):
            for name, epoch in loops.items():
                seconds[name].append(timed(epoch, data.device))
        median = {name: statistics.median(times) for name, times in seconds.items()}
        print(
            f"{nm}: "
            + ", ".join(f"{name} {value:.2f}" for name, value in median.items())
            + f"; conventional / ours {median['conventional'] / median['ours']:.1f},"
            + f" ours / floor {median['ours'] / median['floor']:.2f}",
            flush=True,
        )


if __name__ == "__main__":
    main()
