"""Models that return their own loss beside other outputs, and logits of tokens, in every framework."""

import math

import numpy as np
import pytest

BATCH, LENGTH, VOCABULARY, WIDTH = 8, 12, 40, 16


def tokens(seed=0):
    return np.random.default_rng(seed).integers(0, VOCABULARY, (BATCH, LENGTH))


def tables(loud=1.0):
    rng = np.random.default_rng(1)
    return {
        "table": rng.standard_normal((VOCABULARY, WIDTH)).astype(np.float32),
        "head": (loud * 0.2 * rng.standard_normal((WIDTH, VOCABULARY)) / WIDTH**0.5).astype(np.float32),
    }


def by_hand(values, ids, classes):
    logits = values["table"].astype(np.float64)[ids] @ values["head"].astype(np.float64)
    logs = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    return -np.take_along_axis(logs, classes[..., None], -1).mean()


def torch_model(values, form):
    import torch  # noqa: PLC0415
    from torch.nn import functional  # noqa: PLC0415

    class Net(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.table = torch.nn.Parameter(torch.from_numpy(values["table"]))
            self.head = torch.nn.Parameter(torch.from_numpy(values["head"]))

        def forward(self, ids, classes=None):
            hidden = functional.embedding(ids, self.table)
            logits = hidden @ self.head
            loss = None if classes is None else functional.cross_entropy(logits.flatten(0, 1), classes.flatten())
            return FORMS[form](logits, loss, hidden.square().mean())

    return Net()


def jax_model(values, form):
    import jax  # noqa: PLC0415
    import jax.numpy as jnp  # noqa: PLC0415

    def net(params, ids, classes=None):
        hidden = params["table"][ids]
        logits = hidden @ params["head"]
        loss = None
        if classes is not None:
            loss = -jnp.take_along_axis(jax.nn.log_softmax(logits), classes[..., None], -1).mean()
        return FORMS[form](logits, loss, jnp.square(hidden).mean())

    return net, {name: jnp.asarray(value) for name, value in values.items()}


def keras_model(values, form):
    import keras  # noqa: PLC0415

    class Net(keras.Model):
        def __init__(self):
            super().__init__()
            self.table = keras.layers.Embedding(VOCABULARY, WIDTH)
            self.head = keras.layers.Dense(VOCABULARY, use_bias=False)

        def call(self, inputs):
            pair = isinstance(inputs, list)
            hidden = self.table(inputs[0] if pair else inputs)
            logits, loss = self.head(hidden), None
            if pair:
                terms = keras.losses.sparse_categorical_crossentropy(inputs[1], logits, from_logits=True)
                loss = keras.ops.mean(terms)
            return FORMS[form](logits, loss, keras.ops.mean(keras.ops.square(hidden)))

    model = Net()
    model(tokens())
    model.table.set_weights([values["table"]])
    model.head.set_weights([values["head"]])
    return model


def whole(loss, auxiliary):
    return 0.01 * auxiliary if loss is None else loss + 0.01 * auxiliary


FORMS = {
    "logits and loss": lambda logits, loss, auxiliary: (logits, loss),
    "loss and logits": lambda logits, loss, auxiliary: (loss, logits),
    "logits and an auxiliary loss": lambda logits, loss, auxiliary: (logits, auxiliary),
    "logits, the loss and an auxiliary one": lambda logits, loss, auxiliary: (logits, auxiliary, loss),
    "logits, a part and the whole": lambda logits, loss, auxiliary: (
        logits,
        loss,
        (0.0 if loss is None else loss) + 0.01 * auxiliary,
    ),
    "named": lambda logits, loss, auxiliary: {"logits": logits, "loss": loss},
    "logits": lambda logits, loss, auxiliary: logits,
}
"""What models return; those with an auxiliary loss add it to nothing."""
MAKERS = {"torch": torch_model, "jax": jax_model, "keras": keras_model}


def observed(framework, form, *, labelled=True, loss=None, loud=1.0, batch=None):
    model = MAKERS[framework.adapter](tables(loud), form)
    given = [framework.array(tokens()), framework.array(tokens(1))]
    given = (given if framework.adapter == "keras" else tuple(given)) if labelled else given[0]
    return framework.api.check(model, given if batch is None else batch(given), loss)


@pytest.mark.parametrize("form", [form for form in FORMS if form not in ("logits", "logits and an auxiliary loss")])
def test_the_model_s_own_loss(framework, form):
    loss = observed(framework, form).observations[0].loss
    assert loss.name == "the model's own"
    assert loss.value == pytest.approx(by_hand(tables(), tokens(), tokens(1)), rel=0.01)
    assert loss.chance == pytest.approx(math.log(VOCABULARY), rel=1e-5)


def test_an_auxiliary_loss_is_not_the_model_s_loss(framework):
    """As that of a balance of experts is: it is not made of the logits."""
    seen = observed(framework, "logits and an auxiliary loss", labelled=False).observations[0]
    assert seen.loss.probe
    (head,) = [path for path in seen.values if is_head(path)]
    assert seen.values[head].gradient > 0


def is_head(path):
    return path == "head" or path.endswith("kernel")


def test_an_own_loss_that_is_too_loud(framework):
    report = observed(framework, "logits and loss", loud=200.0)
    assert "LOS001" in [each.code for finding in report.findings for each in finding.walk()]


# Logits of tokens


@pytest.mark.parametrize("given", [True, False])
def test_classes_of_tokens_are_in_the_last_axis(framework, given):
    """Found from the targets, or from the map that gives them: (8, 12, 40) logits of 40 classes."""
    report = observed(framework, "logits", labelled=given, loss="cross_entropy", batch=_paired(framework))
    loss = report.observations[0].loss
    assert (loss.classes, loss.drawn) == (VOCABULARY, not given)
    assert loss.chance == pytest.approx(math.log(VOCABULARY), rel=1e-5)
    if given:
        assert loss.value == pytest.approx(by_hand(tables(), tokens(), tokens(1)), rel=1e-4)


def _paired(framework):
    return lambda given: tuple(given) if isinstance(given, list) else given


def test_the_head_of_tokens_is_named(framework):
    report = observed(framework, "logits", labelled=True, loss="cross_entropy", loud=200.0, batch=_paired(framework))
    (finding,) = [each for root in report.findings for each in root.walk() if each.code == "LOS001"]
    assert "nan" not in finding.cause
    (path,) = finding.paths
    assert is_head(path)
