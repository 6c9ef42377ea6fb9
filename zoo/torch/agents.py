"""Agents: values, policies, critics, models of a world."""

import copy
import math
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional, init

from zoo.model import maker
from zoo.torch.batches import ids, images, labels, normal, rows, targets, uniform
from zoo.torch.laws import bounded, drawn, fan_bounded, filled, frozen, headed
from zoo.torch.layers import Net, conv, mlp, stacked
from zoo.torch.losses import own


def values() -> nn.Module:
    """Q-learning: the value of the best action after, from a frozen copy of the network."""

    def run(net: Any, before: Tensor, action: Tensor, after: Tensor) -> Tensor:
        with torch.no_grad():
            best = net.target(after).amax(1)
        return net.online(before).gather(1, action[:, None])[:, 0] - 0.99 * best

    online, target = mlp(16, 128, 128, 4), mlp(16, 128, 128, 4)
    target.load_state_dict(online.state_dict())
    return Net(run, online=online, target=frozen(target))


def actor_critic() -> nn.Module:
    """Orthogonal, sqrt(2) within, 0.01 for the policy, 1 for the value (Andrychowicz 2021)."""

    def tower(outputs: int, gain: float) -> nn.Module:
        model = drawn(mlp(16, 64, 64, outputs, act=nn.Tanh), partial(init.orthogonal_, gain=math.sqrt(2)))
        return headed(model, partial(init.orthogonal_, gain=gain))

    return Net(lambda net, x: (net.actor(x), net.critic(x)), actor=tower(4, 0.01), critic=tower(1, 1.0))


def policy(output: tuple[Tensor, Tensor], target: Tensor) -> Tensor:
    logits, value = output
    return functional.cross_entropy(logits, target) + 0.5 * functional.mse_loss(value[:, 0], (target - 1.5) / 1.2)


def moves() -> tuple[Tensor, Tensor, Tensor, Tensor]:
    before, action = normal(64, 16), ids(64, high=4)
    return before, action, before + 0.1 * normal(64, 16, seed=5), before[:, 0].sign()


def states() -> tuple[Tensor, Tensor]:
    x = normal(64, 16)
    return x, labels(x, 4)


def duelling() -> nn.Module:
    """Duelling Q-learning from pixels, and a frozen copy that says what comes after; torch's own weights."""

    def make() -> nn.Module:
        body = stacked(nn.Conv2d(4, 16, 8, 4), nn.ReLU(), nn.Conv2d(16, 32, 4, 2), nn.ReLU(), nn.Flatten())
        parts = {"value": mlp(32 * 16, 128, 1), "gain": mlp(32 * 16, 128, 6)}

        def run(net: Any, x: Tensor) -> Tensor:
            x = net.body(x)
            gain = net.gain(x)
            return net.value(x) + gain - gain.mean(1, keepdim=True)

        return Net(run, body=body, **parts)

    def run(net: Any, before: Tensor, action: Tensor, after: Tensor) -> Tensor:
        with torch.no_grad():
            best = net.target(after).gather(1, net.online(after).argmax(1, keepdim=True))[:, 0]
        return net.online(before).gather(1, action[:, None])[:, 0] - 0.99 * best

    online = make()
    return Net(run, online=online, target=frozen(copy.deepcopy(online)))


def soft_actor() -> nn.Module:
    """SAC's actor and two critics: means and log spreads through tanh, Xavier uniform."""

    def run(net: Any, state: Tensor) -> Tensor:
        mean, spread = net.actor(state).chunk(2, 1)
        spread = spread.clamp(-20, 2)
        drawn_action = mean + spread.exp() * torch.randn_like(mean)
        action = drawn_action.tanh()
        chance = -0.5 * ((drawn_action - mean) / spread.exp()) ** 2 - spread - torch.log(1 - action**2 + 1e-6)
        seen = torch.cat([state, action], 1)
        return torch.cat([torch.minimum(net.one(seen), net.two(seen)), chance.sum(1, keepdim=True)], 1)

    model = Net(run, actor=mlp(17, 128, 128, 12), one=mlp(23, 128, 128, 1), two=mlp(23, 128, 128, 1))
    return drawn(model, init.xavier_uniform_)


def deterministic() -> nn.Module:
    """DDPG's critic: uniform in 1 / sqrt(fan_in), the last map in 0.003, the action enters at the second layer."""

    def run(net: Any, state: Tensor, action: Tensor) -> Tensor:
        return net.last(net.second(torch.cat([net.first(state).relu(), action], 1)).relu())

    parts = {"first": nn.Linear(17, 200), "second": nn.Linear(206, 150), "last": nn.Linear(150, 1)}
    for part in parts.values():
        fan_bounded(part.weight)
    bounded(3e-3)(parts["last"].weight)
    return Net(run, **parts)


def advantage() -> nn.Module:
    """A3C: four strided ELU convolutions, an LSTM cell, heads of normalised rows 0.01 and 1."""

    def law(weight: Tensor) -> None:
        fan_in, fan_out = init._calculate_fan_in_and_fan_out(weight)
        bounded(math.sqrt(6 / (fan_in + fan_out)))(weight)

    def rows(layer: nn.Linear, size: float) -> nn.Module:
        init.normal_(layer.weight)
        layer.weight.data *= size / layer.weight.data.norm(dim=1, keepdim=True)
        return zeroed_bias(layer)

    def zeroed_bias(layer: nn.Linear) -> nn.Module:
        init.zeros_(layer.bias)
        return layer

    def run(net: Any, frames: Tensor) -> Tensor:
        state = None
        for step in range(frames.shape[1]):
            state = net.cell(net.convs(frames[:, step]), state)
        return torch.cat([net.policy(state[0]), net.value(state[0])], 1)

    convs = [p for a in (1, 24, 24, 24) for p in (filled(conv(a, 24, stride=2), law), nn.ELU())]
    heads = {"policy": rows(nn.Linear(96, 6), 0.01), "value": rows(nn.Linear(96, 1), 1.0)}
    return Net(run, convs=stacked(convs, nn.Flatten()), cell=nn.LSTMCell(24 * 4, 96), **heads)


def dreaming() -> nn.Module:
    """A world model's memory: an LSTM and a mixture of five Gaussians for each of eight numbers (Ha 2018)."""

    def run(net: Any, x: Tensor, following: Tensor) -> Tensor:
        found = net.head(net.body(x)[0]).unflatten(-1, (3, 5, 8))
        weight, mean, spread = found.unbind(2)
        near = -0.5 * ((following[:, :, None] - mean) / spread.exp()) ** 2 - spread
        return -torch.logsumexp(weight.log_softmax(2) + near, 2).mean()

    return Net(run, body=nn.LSTM(10, 128, batch_first=True), head=nn.Linear(128, 120))


def curious() -> nn.Module:
    """Random network distillation: a predictor of a frozen network, orthogonal sqrt(2)."""

    def run(net: Any, x: Tensor) -> Tensor:
        return (net.predict(x) - net.target(x)) ** 2

    law = partial(init.orthogonal_, gain=math.sqrt(2))

    def body() -> list[nn.Module]:
        return [
            conv(1, 16, 4, stride=2, padding=1),
            nn.LeakyReLU(),
            conv(16, 32, stride=2),
            nn.LeakyReLU(),
            nn.Flatten(),
        ]

    target = drawn(stacked(body(), nn.Linear(32 * 64, 64)), law)
    predict = drawn(stacked(body(), nn.Linear(32 * 64, 64), nn.ReLU(), nn.Linear(64, 64)), law)
    return Net(run, target=frozen(target), predict=predict)


def noisy() -> nn.Module:
    """Noisy nets: factorised noise of 0.5 / sqrt(fan_in) on the weights (Fortunato 2018)."""

    def layer(fan_in: int, fan_out: int) -> nn.Module:
        def shaped(size: int) -> Tensor:
            noise = torch.randn(size)
            return noise.sign() * noise.abs().sqrt()

        def run(net: Any, x: Tensor) -> Tensor:
            row, column = shaped(fan_in), shaped(fan_out)
            weight = net.weight + net.spread * torch.outer(column, row)
            return functional.linear(x, weight, net.bias + net.bias_spread * column)

        bound = 1 / math.sqrt(fan_in)
        parts = {"weight": fan_bounded(torch.empty(fan_out, fan_in)), "bias": bounded(bound)(torch.empty(fan_out))}
        parts |= {"spread": torch.full((fan_out, fan_in), bound / 2), "bias_spread": torch.full((fan_out,), bound / 2)}
        return Net(run, **{name: nn.Parameter(value) for name, value in parts.items()})

    return nn.Sequential(nn.Linear(17, 128), nn.ReLU(), layer(128, 128), nn.ReLU(), layer(128, 6))


def frames() -> tuple[Tensor, Tensor, Tensor, Tensor]:
    before, after = (0.5 + 0.25 * normal(24, 4, 44, 44, seed=s).clamp(-2, 2) for s in (81, 82))
    action = ids(24, high=6, seed=83)
    return before, action, after, action % 3 - 1.0


def situations() -> tuple[Tensor, Tensor]:
    x = normal(64, 17, seed=84)
    return x, targets(x)


def soft(output: Tensor, target: Tensor) -> Tensor:
    return functional.mse_loss(output[:, :1], target) + 0.2 * output[:, 1].mean() - 0.1 * output[:, 0].mean()


def deeds() -> tuple[Tensor, Tensor, Tensor]:
    x, y = situations()
    action = uniform(64, 6, seed=85) * 2 - 1
    return x, action, y + action[:, :1]


def games() -> tuple[Tensor, Tensor]:
    x = normal(12, 6, 1, 24, 24, seed=86)
    return x, torch.stack([labels(x[:, -1], 6).float(), targets(x[:, -1])[:, 0]], 1)


def policy_and_value(output: Tensor, target: Tensor) -> Tensor:
    away = functional.mse_loss(output[:, 6], target[:, 1])
    return functional.cross_entropy(output[:, :6], target[:, 0].long()) + 0.5 * away


def dreams() -> tuple[Tensor, Tensor, Tensor]:
    time = torch.arange(21)[None, :, None] * (0.1 + 0.2 * uniform(24, 1, 8, seed=87))
    x = torch.sin(time) * 1.4 + 0.1 * normal(24, 21, 8, seed=88)
    return torch.cat([x[:, :-1], normal(24, 20, 2, seed=89)], 2), x[:, 1:], torch.zeros(24)


def sights() -> tuple[Tensor, Tensor]:
    x, _ = images(24, 32)
    return x[:, :1], torch.zeros(24, 64)


def worth() -> tuple[Tensor, Tensor]:
    x = normal(64, 17, seed=90)
    return x, targets(x, 6)


def agent(*widths: int, gain: float) -> nn.Module:
    """Orthogonal, gain sqrt(2) in the body and its own at the end, biases zero."""
    model = drawn(mlp(*widths, act=nn.Tanh), partial(init.orthogonal_, gain=math.sqrt(2)))
    filled(model[-1], partial(init.orthogonal_, gain=gain))
    return model


def gaussian_policy() -> nn.Module:
    """PPO's actor and critic: the actor's end a hundredth, the spread learnt from one."""

    def run(net: Any, state: Tensor, act: Tensor, gain: Tensor, worth: Tensor) -> Tensor:
        chance = torch.distributions.Normal(net.actor(state), net.spread.exp()).log_prob(act).sum(1)
        return functional.mse_loss(net.critic(state)[:, 0], worth) - (chance * gain).mean()

    spread = nn.Parameter(torch.zeros(6))
    return Net(run, actor=agent(17, 64, 64, 6, gain=0.01), critic=agent(17, 64, 64, 1, gain=1.0), spread=spread)


def twin_critics() -> nn.Module:
    """TD3's two critics of a state and an action, both learning one value."""
    critics = nn.ModuleList(mlp(23, 256, 256, 1) for _ in "xx")
    return Net(lambda net, s, a: torch.cat([one(torch.cat([s, a], 1)) for one in net.critics], 1), critics=critics)


def played() -> tuple[Tensor, ...]:
    extra = (normal(64, seed=k) for k in (326, 327))
    return normal(64, 17, seed=325), normal(64, 6, seed=328), *extra, torch.zeros(())


def judged() -> tuple[Tensor, ...]:
    state = normal(128, 17, seed=338)
    return state, normal(128, 6, seed=339).tanh(), targets(state).expand(-1, 2)


tuned, held_out = maker("torch", "agents", "tuned"), maker("torch", "agents", "held_out")
MODELS = (
    tuned("q_learning", values, moves, "mse_loss"),
    tuned("actor_critic", actor_critic, states, policy),
    tuned("fresh_duelling", duelling, frames, "smooth_l1_loss"),
    tuned("fresh_sac", soft_actor, situations, soft),
    tuned("fresh_ddpg_critic", deterministic, deeds, "mse_loss"),
    tuned("fresh_a3c_lstm", advantage, games, policy_and_value),
    tuned("fresh_world_model", dreaming, dreams, own),
    tuned("fresh_random_distillation", curious, sights, "l1_loss"),
    tuned("fresh_noisy_net", noisy, worth, "mse_loss"),
    held_out("last_ppo_gaussian", gaussian_policy, played, own),
    held_out("last_td3_critics", twin_critics, judged, "mse_loss"),
    held_out("last_cloned_policy", lambda: agent(8, 128, 128, 4, gain=0.01), rows(64, 8, 4)),
)
