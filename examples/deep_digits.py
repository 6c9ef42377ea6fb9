"""A ReLU network of twelve layers on the digits, with a slip in its weights: std 2/sqrt(n) where sqrt(2/n) was meant.

fanwise check examples/deep_digits.py:build --data examples/deep_digits.py:batch --loss cross_entropy
fanwise fix   examples/deep_digits.py:build --data examples/deep_digits.py:batch --loss cross_entropy
python examples/deep_digits.py
"""

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional

import fanwise.torch as fwt
from fanwise.lab.data import load_digits

WIDTH, DEPTH, CLASSES = 128, 12, 10
STEPS, EXAMPLES, LEARNING_RATE = 300, 64, 0.02


class DeepDigits(nn.Module):
    """784 pixels, eleven hidden layers, ten classes."""

    def __init__(self) -> None:
        super().__init__()
        sizes = [784] + [WIDTH] * (DEPTH - 1)
        self.layers = nn.ModuleList([nn.Linear(n, m) for n, m in pairwise(sizes)])
        self.head = nn.Linear(WIDTH, CLASSES)
        for layer in [*self.layers, self.head]:
            nn.init.normal_(layer.weight, std=2 / layer.in_features**0.5)  # the slip
            nn.init.zeros_(layer.bias)

    def forward(self, x: Tensor) -> Tensor:
        """Logits, (n, 10), of pixels, (n, 784)."""
        for layer in self.layers:
            x = torch.relu(layer(x))
        return self.head(x)


def build() -> DeepDigits:
    """The model as it starts."""
    return DeepDigits()


def batch() -> tuple[Tensor, Tensor]:
    """The first digits of the training set and their labels."""
    digits = load_digits()
    return torch.from_numpy(digits.train_x[:EXAMPLES]), torch.from_numpy(digits.train_y[:EXAMPLES])


def train(model: nn.Module) -> tuple[float, float]:
    """Loss of the last steps and accuracy on the test set, after a short training by SGD with momentum."""
    digits = load_digits()
    x, y, test_x, test_y = (
        torch.from_numpy(part) for part in (digits.train_x, digits.train_y, digits.test_x, digits.test_y)
    )
    order = torch.randint(0, len(x), (STEPS, EXAMPLES), generator=torch.Generator().manual_seed(0))
    optimizer = torch.optim.SGD(model.parameters(), lr=LEARNING_RATE, momentum=0.9)
    losses = []
    for chosen in order:
        loss = functional.cross_entropy(model(x[chosen]), y[chosen])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    with torch.no_grad():
        accuracy = (model(test_x).argmax(1) == test_y).double().mean().item()
    return sum(losses[-20:]) / 20, accuracy


def main() -> None:
    """Trains the model as it starts, mends it, and trains it again."""
    torch.manual_seed(0)
    model = build()
    report = fwt.check(model, batch(), "cross_entropy")
    mended = build()
    fwt.fix(mended, report, batch(), loss="cross_entropy", apply=True, key=0)
    clean = fwt.check(mended, batch(), "cross_entropy")
    for name, found, start in (("as it starts", report, model), ("mended", clean, mended)):
        codes = ", ".join(finding.code for finding in found.findings) or "healthy"
        loss, accuracy = train(start)
        print(f"{name:13s} check: {codes:8s} loss after {STEPS} steps {loss:.3g}, test accuracy {100 * accuracy:.1f} %")


if __name__ == "__main__":
    main()
