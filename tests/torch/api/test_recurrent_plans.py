"""Plans of recurrent networks: every map of what a layer reads gives unit pre-activations, whatever its direction."""

import math

import pytest

torch = pytest.importorskip("torch", reason="torch is not installed")
nn = torch.nn

from fanwise.graph.op import OpKind  # noqa: E402
from fanwise.torch.api.plan import plan  # noqa: E402
from fanwise.torch.trace.run import Inputs, run  # noqa: E402
from fanwise.torch.weights.apply import apply  # noqa: E402

WIDTH, LAYERS = 32, 3
NETWORKS = {
    "lstm": lambda **more: nn.LSTM(16, WIDTH, LAYERS, batch_first=True, **more),
    "gru": lambda **more: nn.GRU(16, WIDTH, LAYERS, batch_first=True, **more),
    "tanh": lambda **more: nn.RNN(16, WIDTH, LAYERS, batch_first=True, **more),
    "relu": lambda **more: nn.RNN(16, WIDTH, LAYERS, batch_first=True, nonlinearity="relu", **more),
    "no_bias": lambda **more: nn.LSTM(16, WIDTH, LAYERS, batch_first=True, bias=False, **more),
}
INPUT = torch.randn(32, 20, 16, generator=torch.Generator().manual_seed(0))


def inputs_of_layers(network, values):
    """What each layer reads, from networks with fewer layers and the same weights."""
    yield values
    for count in range(1, network.num_layers):
        shorter = type(network)(
            network.input_size,
            network.hidden_size,
            count,
            batch_first=True,
            bias=network.bias,
            bidirectional=network.bidirectional,
            **({"nonlinearity": network.nonlinearity} if isinstance(network, nn.RNN) else {}),
        )
        shorter.load_state_dict({name: network.state_dict()[name] for name in shorter.state_dict()})
        yield shorter(values)[0]


def pre_activations(network, values):
    """(name, E (W x)^2, 5 standard errors over the weights) of every map of what a layer reads."""
    for layer, read in enumerate(inputs_of_layers(network, values)):
        rows = read.reshape(-1, read.shape[-1])
        covariance = rows.T @ rows / len(rows)
        spread = float(covariance.square().sum() / covariance.trace() ** 2)
        for suffix in ("", "_reverse")[: 1 + network.bidirectional]:
            weight = getattr(network, f"weight_ih_l{layer}{suffix}")
            error = math.sqrt(2 * spread / len(weight))
            yield f"l{layer}{suffix}", float((rows @ weight.T).square().mean()), 5 * error


@pytest.mark.parametrize("directions", [1, 2])
@pytest.mark.parametrize("name", NETWORKS)
@torch.no_grad()
def test_every_layer_and_direction_has_unit_pre_activations(name, directions):
    network = NETWORKS[name](bidirectional=directions == 2)
    apply(network, plan(network, INPUT), key=0)
    measured = list(pre_activations(network, INPUT))
    assert len(measured) == LAYERS * directions
    for which, second_moment, error in measured:
        assert abs(second_moment - 1) < error < 1.1, which


@torch.no_grad()
def test_a_reverse_direction_drawn_from_a_guess_is_noticed():
    """The mutant: the reverse maps 3.2 times as large, as for an input of second moment 0.1."""
    network = NETWORKS["lstm"](bidirectional=True)
    apply(network, plan(network, INPUT), key=0)
    network.weight_ih_l0_reverse *= math.sqrt(10)
    wrong = {which for which, second_moment, error in pre_activations(network, INPUT) if abs(second_moment - 1) > error}
    assert "l0_reverse" in wrong


@pytest.mark.parametrize("name", NETWORKS)
def test_a_network_is_traced_layer_by_layer(name):
    """The outputs of the model are those of the whole network, and each op is one layer."""
    network = NETWORKS[name](bidirectional=True).eval()
    trace = run(network, Inputs((INPUT,)))
    layers = [op for op in trace.ops if op.kind == OpKind.RECURRENT]
    assert [layer.inputs[0] for layer in layers[1:]] == [layer.index for layer in layers[:-1]]
    assert len(layers) == LAYERS
    assert not trace.unused


def test_states_and_packed_sequences_are_divided_among_the_layers():
    """What the traced call returns is what the network returns, of given states and of sequences of unequal length."""
    network = NETWORKS["lstm"](bidirectional=True).eval()
    start = tuple(torch.randn(2 * LAYERS, 3, WIDTH) for _ in range(2))
    seen = []

    class Caller(nn.Module):
        def __init__(self):
            super().__init__()
            self.network = network

        def forward(self, values):
            padded = nn.utils.rnn.pack_padded_sequence(values, [20, 11, 4], batch_first=True)
            for read in (values, padded):
                output, states = self.network(read, start)
                seen.append([output.data, *states])
            return output.data

    model = Caller()
    with torch.no_grad():
        model(INPUT[:3])
    run(model, Inputs((INPUT[:3],)))
    for expected, traced in ((seen[0], seen[2]), (seen[1], seen[3])):
        for tensor, other in zip(traced, expected, strict=True):
            torch.testing.assert_close(tensor, other)


def test_dropout_stands_between_layers_in_training_alone():
    """A check in training mode drops between layers, as the network does; the plan's runs do not."""
    network = NETWORKS["gru"](dropout=0.5)
    kinds = [op.kind for op in run(network, Inputs((INPUT,))).ops]
    assert OpKind.DROPOUT not in kinds


@torch.no_grad()
@pytest.mark.parametrize("merge", ["cat", "add"])
def test_cells_written_out_in_both_directions(merge):
    """A hand-written reversed loop is planned as the forward one."""

    class Both(nn.Module):
        def __init__(self):
            super().__init__()
            self.ahead, self.back = nn.GRUCell(16, WIDTH), nn.GRUCell(16, WIDTH)
            self.head = nn.Linear(2 * WIDTH if merge == "cat" else WIDTH, 5)

        def forward(self, values):
            ahead = back = values.new_zeros(len(values), WIDTH)
            for time in range(values.shape[1]):
                ahead = self.ahead(values[:, time], ahead)
                back = self.back(values[:, -1 - time], back)
            return self.head(torch.cat([ahead, back], -1) if merge == "cat" else ahead + back)

    rows = {row.path: row for row in plan(Both(), INPUT).rows}
    for cell in ("ahead", "back"):
        assert rows[f"{cell}.weight_ih"].std == pytest.approx(1 / 4, rel=0.05)
        assert not rows[f"{cell}.weight_ih"].guess
