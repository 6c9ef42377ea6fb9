"""Plain functions and dictionaries of arrays: einsum, scan, vmap, associative scans."""

import jax
import jax.numpy as jnp
from jax import lax

from zoo.jax.families.rows import CLASSES, WIDTH, WORDS, classifier, series, tree, vectors, words

KEY = jax.random.key(7)


def norm(x, scale=1.0):
    return x * lax.rsqrt(jnp.mean(x**2, -1, keepdims=True) + 1e-6) * scale


def grouped_llama():
    """Grouped queries by einsum with heads as axes of the weights, SwiGLU, layers scanned."""

    def forward(p, ids):
        x = p["embed"][ids]
        causal = jnp.tril(jnp.ones((ids.shape[1], ids.shape[1]), bool))

        def layer(x, w):
            y = norm(x, w["ln1"])
            q = jnp.einsum("btd,dgrk->btgrk", y, w["q"])
            k, v = jnp.einsum("btd,dgk->btgk", y, w["k"]), jnp.einsum("btd,dgk->btgk", y, w["v"])
            s = jnp.einsum("btgrk,bsgk->bgrts", q, k) * q.shape[-1] ** -0.5
            a = jax.nn.softmax(jnp.where(causal, s, -1e30), -1)
            x = x + jnp.einsum("bgrts,bsgk,grkd->btd", a, v, w["o"])
            y = norm(x, w["ln2"])
            return x + (jax.nn.silu(y @ w["gate"]) * (y @ w["up"])) @ w["down"], None

        x, _ = lax.scan(layer, x, p["layers"])
        return norm(x, p["ln"]) @ p["head"]

    d, n = WIDTH, 3
    shapes = {
        "ln1": jnp.ones((n, d)),
        "ln2": jnp.ones((n, d)),
        "q": (n, d, 2, 2, 8),
        "k": (n, d, 2, 8),
        "v": (n, d, 2, 8),
    }
    shapes |= {"o": (n, 2, 2, 8, d), "gate": (n, d, 64), "up": (n, d, 64), "down": (n, 64, d)}
    top = tree(KEY, {"embed": (WORDS, d), "ln": jnp.ones(d), "head": (d, WORDS)})
    return forward, top | {"layers": tree(KEY, shapes)}


def linear_recurrence():
    """Orvieto et al. (2023), LRU: complex diagonal recurrences by an associative scan, exponential parameters."""

    def block(p, x):
        lam = jnp.exp(-jnp.exp(p["nu"]) + 1j * jnp.exp(p["theta"]))
        b = (p["b_re"] + 1j * p["b_im"]) * jnp.exp(p["gamma"])[:, None]
        bu = jnp.einsum("btd,nd->btn", x.astype(jnp.complex64), b)
        a = jnp.broadcast_to(lam, bu.shape)
        _, h = lax.associative_scan(lambda a, b: (a[0] * b[0], b[0] * a[1] + b[1]), (a, bu), axis=1)
        y = jnp.einsum("btn,dn->btd", h, p["c_re"] + 1j * p["c_im"]).real + p["d"] * x
        return jax.nn.glu(jax.nn.gelu(y) @ p["glu"])

    def forward(p, x):
        x = x @ p["enter"]
        for layer in p["layers"]:
            x = x + block(layer, norm(x))
        return x.mean(1) @ p["head"]

    n, d = 16, WIDTH
    shapes = {"nu": jnp.full(n, -1.5), "theta": jnp.linspace(-3, 1, n), "gamma": jnp.full(n, -0.5)}
    shapes |= {"b_re": (n, d), "b_im": (n, d), "c_re": (d, n), "c_im": (d, n), "d": (d,), "glu": (d, 2 * d)}
    layers = [tree(k, shapes) for k in jax.random.split(KEY, 3)]
    return forward, tree(KEY, {"enter": (8, d), "head": (d, CLASSES)}) | {"layers": layers}


def message_passing():
    """Battaglia et al. (2018), graph network: edge, node and global updates with segment sums."""
    at = jnp.arange(16)
    src, dst = jnp.concatenate([at, at]), jnp.concatenate([(at + 1) % 16, (at + 5) % 16])

    def mlp(p, x):
        return jax.nn.relu(x @ p["w0"] + p["b0"]) @ p["w1"] + p["b1"]

    def forward(p, x):
        nodes, edges, whole = x @ p["enter"], jnp.zeros((len(src), 16)), jnp.zeros(16)
        for step in p["steps"]:
            g = jnp.broadcast_to(whole, (len(src), 16))
            edges = edges + mlp(step["edge"], jnp.concatenate([edges, nodes[src], nodes[dst], g], -1))
            got = jax.ops.segment_sum(edges, dst, 16)
            g = jnp.broadcast_to(whole, (16, 16))
            nodes = nodes + mlp(step["node"], jnp.concatenate([nodes, got, g], -1))
            whole = whole + mlp(step["whole"], jnp.concatenate([whole, nodes.mean(0), edges.mean(0)], -1))
        return nodes @ p["head"]

    part = lambda k, i: tree(k, {"w0": (i, 32), "b0": jnp.zeros(32), "w1": (32, 16), "b1": jnp.zeros(16)})
    steps = [{n: part(k, i) for n, i in (("edge", 64), ("node", 48), ("whole", 48))} for k in jax.random.split(KEY, 2)]
    return forward, tree(KEY, {"enter": (8, 16), "head": (16, CLASSES)}) | {"steps": steps}


def experts():
    """Shazeer et al. (2017), top two of four experts by one-hot dispatch, under vmap over experts."""

    def expert(w, x):
        return jax.nn.gelu(x @ w["up"] + w["bu"]) @ w["down"]

    def forward(p, x):
        for layer in p["layers"]:
            y = norm(x)
            scores, index = lax.top_k(jax.nn.softmax(y @ layer["router"]), 2)
            gate = jnp.einsum("nk,nke->ne", scores, jax.nn.one_hot(index, 4))
            out = jax.vmap(expert, in_axes=(0, None))(layer["experts"], y)
            x = x + jnp.einsum("end,ne->nd", out, gate)
        return norm(x) @ p["head"]

    make = lambda k: {
        "router": 0.02 * jax.random.normal(k, (WIDTH, 4)),
        "experts": tree(k, {"up": (4, WIDTH, 64), "bu": jnp.zeros((4, 64)), "down": (4, 64, WIDTH)}),
    }
    return forward, {
        "layers": [make(k) for k in jax.random.split(KEY, 2)],
        "head": 0.1 * jax.random.normal(KEY, (WIDTH, CLASSES)),
    }


def ensemble():
    """Five perceptrons under vmap, their logits averaged."""

    def member(p, x):
        for w, b in p[:-1]:
            x = jax.nn.swish(x @ w + b)
        w, b = p[-1]
        return x @ w + b

    def forward(p, x):
        return jax.vmap(member, (0, None))(p, x).mean(0)

    sizes = (WIDTH, 48, 48, CLASSES)
    keys = jax.random.split(KEY, 3)
    return forward, [
        (0.1 * jax.random.normal(k, (5, i, o)), jnp.zeros((5, o)))
        for k, i, o in zip(keys, sizes, sizes[1:], strict=False)
    ]


def gated_attention_unit():
    """Hua et al. (2022), FLASH: one shared narrow map scaled twice gives query and key, squared ReLU of the scores."""

    def forward(p, ids):
        x = p["embed"][ids] + p["pos"]
        for i in range(3):
            y = norm(x)
            u, v, z = jnp.split(jax.nn.silu(y @ p[f"in{i}"] + p[f"b{i}"]), [64, 128], -1)
            q, k = (z * p[f"gamma{i}"][j] + p[f"beta{i}"][j] for j in (0, 1))
            a = jnp.square(jax.nn.relu(jnp.einsum("bnd,bmd->bnm", q, k) / x.shape[1]))
            x = x + (u * jnp.einsum("bnm,bme->bne", jnp.tril(a), v)) @ p[f"out{i}"]
        return norm(x) @ p["embed"].T

    shapes = {"embed": (WORDS, WIDTH), "pos": (12, WIDTH)}
    for i in range(3):
        shapes |= {f"in{i}": (WIDTH, 144), f"b{i}": jnp.zeros(144), f"out{i}": (64, WIDTH)}
        shapes |= {f"gamma{i}": jnp.ones((2, 16)), f"beta{i}": jnp.zeros((2, 16))}
    return forward, tree(KEY, shapes)


def ode():
    """Chen et al. (2018): Runge-Kutta steps of one small field in a fori_loop."""

    def field(p, x, t):
        h = jnp.concatenate([x, jnp.broadcast_to(t, (*x.shape[:-1], 1))], -1)
        return jnp.tanh(h @ p["w1"] + p["b1"]) @ p["w2"] + p["b2"]

    def forward(p, x):
        h = 0.25

        def step(i, x):
            t = i * h
            k1 = field(p, x, t)
            k2 = field(p, x + h / 2 * k1, t + h / 2)
            k3 = field(p, x + h / 2 * k2, t + h / 2)
            k4 = field(p, x + h * k3, t + h)
            return x + h / 6 * (k1 + 2 * k2 + 2 * k3 + k4)

        return lax.fori_loop(0, 4, step, x) @ p["head"]

    shapes = {
        "w1": (WIDTH + 1, 64),
        "b1": jnp.zeros(64),
        "w2": (64, WIDTH),
        "b2": jnp.zeros(WIDTH),
        "head": (WIDTH, CLASSES),
    }
    return forward, tree(KEY, shapes)


def language(name, build, family="transformer"):
    return classifier(name, family, build, words, classes=WORDS, data="text")


MODELS = (
    language("grouped_llama", grouped_llama),
    classifier("linear_recurrent_unit", "recurrent", linear_recurrence, series),
    classifier("graph_network", "graph", message_passing, lambda: (vectors()[0][:16, :8],)),
    classifier("top_two_experts", "mlp", experts, vectors),
    classifier("ensemble_by_vmap", "mlp", ensemble, vectors),
    language("gated_attention_unit", gated_attention_unit),
    classifier("runge_kutta", "fields", ode, vectors),
)
