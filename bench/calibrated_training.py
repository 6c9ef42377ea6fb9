"""Does a calibrated network train better? Deep plain networks on the digits that come with fanwise.

    python -m bench calibrated_training                # depths 10, 30; 3 activations; 3 seeds: 10 minutes
    python -m bench calibrated_training --depths 10 --seeds 1

Width 128, SGD of rate 0.01 and momentum 0.9 on batches of 64, the gradient's norm clipped at 1, 20 epochs. Every start
has the same data in the same order. Starts: `default` is what torch.nn.Linear draws; `calibrated` is the same after
`fanwise.torch.calibrate` on 256 training images; `after` holds a unit second moment after the activations
(gain_after); `orthogonal` and `both` begin with orthogonal matrices and zero biases, `both` is then calibrated.
Figures are test accuracies, mean and range over the seeds.
"""

import argparse
import itertools
import statistics
import time

import torch
from torch import nn
from torch.nn import functional

from fanwise.lab.data import load_digits
from fanwise.torch import calibrate

WIDTH, RATE, MOMENTUM, CLIP, BATCH, EPOCHS = 128, 0.01, 0.9, 1.0, 64, 20
LOOK = 256
ACTIVATIONS = {"ReLU": nn.ReLU, "tanh": nn.Tanh, "GELU": nn.GELU}


def digits():
    """Training and test images with their labels, as tensors."""
    data = load_digits()
    return tuple(map(torch.from_numpy, (data.train_x, data.train_y, data.test_x, data.test_y)))


def network(depth, activation, inputs=784, classes=10):
    """A plain network of `depth` maps."""
    sizes = [inputs] + [WIDTH] * (depth - 1)
    layers = [part for n, m in itertools.pairwise(sizes) for part in (nn.Linear(n, m), ACTIVATIONS[activation]())]
    return nn.Sequential(*layers, nn.Linear(sizes[-1], classes))


def orthogonal(model):
    """Orthogonal matrices and zero biases."""
    for layer in model:
        if isinstance(layer, nn.Linear):
            nn.init.orthogonal_(layer.weight)
            nn.init.zeros_(layer.bias)
    return model


def calibrated(model, x, **options):
    """The model after a calibration."""
    calibrate(model, x, **options)
    return model


STARTS = {
    "default": lambda model, x: model,
    "calibrated": calibrated,
    "after": lambda model, x: calibrated(model, x, gain_after=True, statistic="second_moment", target=AFTER),
    "orthogonal": lambda model, x: orthogonal(model),
    "both": lambda model, x: calibrated(orthogonal(model), x),
}
AFTER = 0.7071
"""A tanh cannot give a unit second moment; 1 / sqrt(2) is what a ReLU gives of unit input."""


def accuracy(model, data, seed):
    """Test accuracy after training."""
    train_x, train_y, test_x, test_y = data
    optimizer = torch.optim.SGD(model.parameters(), RATE, MOMENTUM)
    generator = torch.Generator().manual_seed(seed)
    for _ in range(EPOCHS):
        for places in torch.randperm(len(train_x), generator=generator).split(BATCH):
            optimizer.zero_grad(set_to_none=True)
            functional.cross_entropy(model(train_x[places]), train_y[places]).backward()
            nn.utils.clip_grad_norm_(model.parameters(), CLIP)
            optimizer.step()
    with torch.no_grad():
        return float((model(test_x).argmax(1) == test_y).float().mean())


def figure(found):
    """Mean and range."""
    return f"{statistics.mean(found):.3f} ({min(found):.3f}-{max(found):.3f})"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--depths", type=int, nargs="+", default=[10, 30])
    parser.add_argument("--activations", nargs="+", choices=ACTIVATIONS, default=list(ACTIVATIONS))
    parser.add_argument("--seeds", type=int, default=3)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    data = digits()
    began = time.perf_counter()
    print("| depth | activation | " + " | ".join(STARTS) + " |")
    print("| --- " * (len(STARTS) + 2) + "|")
    for depth in asked.depths:
        for activation in asked.activations:
            cells = [_cell(depth, activation, start, (data, asked.seeds)) for start in STARTS.values()]
            print(f"| {depth} | {activation} | " + " | ".join(cells) + " |", flush=True)
    print(f"\n{time.perf_counter() - began:.0f} s")


def _cell(depth, activation, start, how):
    data, seeds = how
    found = []
    for seed in range(seeds):
        torch.manual_seed(seed)
        found.append(accuracy(start(network(depth, activation), data[0][:LOOK]), data, seed))
    return figure(found)
