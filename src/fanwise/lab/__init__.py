"""The lab: a small network in NumPy alone and the digits it learns. It shows what a start does to training.

Example:
    >>> from fanwise import he_normal, lab
    >>> network, data = lab.Architecture((784, 100, 100, 10)), lab.load_digits()
    >>> start = lab.initialize(network, he_normal, key=0)
    >>> [layer.dead < 0.1 for layer in lab.probe(network, start, data.test_x, data.test_y).layers]
    [True, True, True]
    >>> lab.check(network, start, data.train_x, data.train_y).ok
    True
    >>> run = lab.train(network, start, data, lab.Recipe(epochs=3), key=0)
    >>> run.epochs[-1].test_accuracy > 0.9
    True
"""

from fanwise.lab.checking import check, observe
from fanwise.lab.data import Dataset, load, load_digits
from fanwise.lab.files import DataError
from fanwise.lab.layers import Parameters
from fanwise.lab.network import Architecture, Backward, Forward, WeightLaw, backward, forward, initialize, predict
from fanwise.lab.probing import LayerProfile, Profile, probe
from fanwise.lab.training import Epoch, Recipe, Run, evaluate, train

__all__ = [
    "Architecture",
    "Backward",
    "DataError",
    "Dataset",
    "Epoch",
    "Forward",
    "LayerProfile",
    "Parameters",
    "Profile",
    "Recipe",
    "Run",
    "WeightLaw",
    "backward",
    "check",
    "evaluate",
    "forward",
    "initialize",
    "load",
    "load_digits",
    "observe",
    "predict",
    "probe",
    "train",
]
