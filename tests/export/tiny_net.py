"""Small networks for the exporter's tests, as a user's file would hold them."""

import torch
from torch import nn


class Block(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.deep = nn.Conv2d(channels, channels, 3, padding=1, groups=channels, bias=False)
        self.norm = nn.BatchNorm2d(channels)
        self.wide = nn.Conv2d(channels, channels, 1)

    def forward(self, x):
        return x + self.wide(nn.functional.relu6(self.norm(self.deep(x))))


def make():
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Conv2d(3, 16, 3, stride=2, padding=1, bias=False),
        nn.BatchNorm2d(16),
        nn.ReLU6(),
        Block(16),
        nn.Conv2d(16, 32, 3, stride=2, bias=False),
        nn.BatchNorm2d(32),
        nn.ReLU(),
    )
    for part in net.modules():
        if isinstance(part, nn.BatchNorm2d):
            part.running_mean.uniform_(-0.2, 0.2)
            part.running_var.uniform_(0.2, 1.0)
            part.weight.data.uniform_(0.5, 1.5)
            part.bias.data.uniform_(0.0, 0.5)
    return net


class Pooled(nn.Module):
    """Gives (n, d) itself, through a linear layer, and negative features."""

    def __init__(self):
        super().__init__()
        self.body = make()
        self.out = nn.Linear(32, 24)

    def forward(self, x):
        return self.out(self.body(x).mean((2, 3)))


def make_pooled():
    torch.manual_seed(1)
    return Pooled()


class LooksAtTheData(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)

    def forward(self, x):
        return self.conv(x) if float(x.sum()) > 0 else self.conv(-x)


def make_untraceable():
    return LooksAtTheData()


class TwoOutputs(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)

    def forward(self, x):
        y = self.conv(x)
        return y, y.mean((2, 3))


def make_two_outputs():
    return TwoOutputs()


class OneAtATime(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)

    def forward(self, x):
        return self.conv(x).reshape(1, 4, -1).mean(2)


def make_one_at_a_time():
    torch.manual_seed(0)
    return OneAtATime()


def make_number():
    return 7


def make_broken():
    raise KeyError("weights.pth")


class ClosedGate(nn.Module):
    """Edges of four directions, of which only what is steeper than a threshold passes."""

    def __init__(self, threshold=0.5):
        super().__init__()
        self.edges = nn.Conv2d(3, 4, 2, bias=False)
        right, down = torch.tensor([[-1.0, 1], [-1, 1]]) / 6, torch.tensor([[-1.0, -1], [1, 1]]) / 6
        four = torch.stack([right, -right, down, -down])
        self.edges.weight.data = four[:, None].repeat(1, 3, 1, 1)
        self.norm = nn.BatchNorm2d(4)
        self.norm.bias.data.fill_(-threshold)

    def forward(self, x):
        return torch.relu(self.norm(self.edges(x)))


def make_closed_gate():
    return ClosedGate()
