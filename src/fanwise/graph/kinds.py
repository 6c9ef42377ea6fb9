"""The named sets of op kinds: what a walk looks for, and what it may lead through.

Sets that look alike and differ on purpose:

- `LINEAR_MAPS` is `WEIGHTED` without `EMBEDDING`: a lookup adds nothing up, has no fan_in, and ends no branch.
- `STRETCH_MAPS` is `LINEAR_MAPS` without `RECURRENT` and `ATTENTION_BLOCK`: gates and a softmax set the scale anew, so
  that factors do not multiply across them, and what they give are no logits.
- `BALANCED_MAPS` is `STRETCH_MAPS` without `BILINEAR`: a factor taken from one map and given to the next must act once.
- `ACTING_ALONE` has no `RECURRENT` and no `EMBEDDING`: a recurrent op over parameters alone makes weights, and a lookup
  is asked about apart.
- `FOLLOWED` is `ELEMENTWISE` without `ADD` and `MUL`: the features of a sum or product belong to no single weight.
- `KEEPS_FEATURES` has `CONCAT` where `STREAM_STEPS` has `SLICE`: a join leaves the features on their axis, but carries
  another stream on; a slice carries its own stream on, with other features.
- `AFTER_SOFTMAX` is `BEFORE_SOFTMAX` without `ADD`: masks are added to scores, other signals to weights.
- `INVARIANT` is `AT_ONCE` with `ELEMENTWISE`: how large a weight is drops out at a norm through a constant factor too.
- `TRANSPARENT` is `MOVING` with `POOL` and `CONCAT`: averages and joins of values that one function gave feed a map as
  they do alone; `MOVING` is for what is done to one tensor.
- `TO_SIGNAL` is `TO_NONLINEARITY` with `ADD`: what a map feeds is no longer its own after a sum, but it is where the
  signal that a user sees beside it is bent next.
- `BRANCH_STEPS` is `HEAD_STEPS` with `CONCAT`, `NORM` and `ADD`: a branch may end in parts side by side and be normed;
  the model's outputs made so are features, not logits.
- `STRETCH` has `ACTIVATION` where `UP_TO_A_SUM` has `NORM`: a nonlinearity takes part in the factor of a stretch and a
  norm ends it; a zero map stays zero through a norm, and the slope at zero of a nonlinearity decides what it learns.
- `TOKENS` is `ATTENTION_OPERAND` without `ACTIVATION`, `MUL` and `CONCAT`: rotary positions are products and joins of
  queries; a sum of tables is made of none.
- `SCALED_USES` has no `QUERY` and `KEY`, `MAIN_USES` no `KEY`, `UNFED_USES` has `OUTPUT` where `MAP_USES` are fed: an
  output projection is fed inside its op.

Sets that differed by mistake and are one now:

- `FOLLOWED`: Keras lacked `ACTIVATION`.
- `BRANCH_STEPS`: the context of a parameter lacked `SOFTMAX`, which its role goes through.
- `AFTER_SOFTMAX`: JAX lacked `MUL`, `SCALE` and `SHIFT`, theory the latter two.
- `ATTENTION_OPERAND`: the check lacked `DROPOUT` and `ACTIVATION`, tables of relative positions lacked `DROPOUT`.
- `STRETCH_MAPS`: the makers of queries and keys, and the maps of an adapter, lacked `CONV_TRANSPOSE` and `BILINEAR`.
- `LINEAR_MAPS`: the maps that read a model's inputs lacked `CONV_TRANSPOSE`, `BILINEAR` and `ATTENTION_BLOCK`.
- `JUDGED`: numbers that should be finite lacked those of `RECURRENT`.
"""

from fanwise.graph.op import OpKind, UseRole

# Ops with weights

WEIGHTED = frozenset(
    {
        OpKind.LINEAR,
        OpKind.CONV,
        OpKind.CONV_TRANSPOSE,
        OpKind.EMBEDDING,
        OpKind.BILINEAR,
        OpKind.RECURRENT,
        OpKind.ATTENTION_BLOCK,
    }
)
"""Ops whose main parameter is a linear map (or a table) of what they read."""
LINEAR_MAPS = WEIGHTED - {OpKind.EMBEDDING}
"""Ops that are linear maps of what they read, with or without functions of their own around them."""
STRETCH_MAPS = LINEAR_MAPS - {OpKind.RECURRENT, OpKind.ATTENTION_BLOCK}
"""Linear maps and nothing else: a signal passes them one after the other, so that their factors multiply."""
BALANCED_MAPS = STRETCH_MAPS - {OpKind.BILINEAR}
"""Maps of one operand: given twice the input, they give twice the output."""
CONVOLUTIONS = frozenset({OpKind.CONV, OpKind.CONV_TRANSPOSE})
"""Maps whose features are channels, before the spatial axes."""

# Functions of values

ELEMENTWISE = frozenset(
    {
        OpKind.ACTIVATION,
        OpKind.DROPOUT,
        OpKind.SCALE,
        OpKind.SHIFT,
        OpKind.ADD,
        OpKind.MUL,
        OpKind.ELEMENTWISE,
    }
)
"""Ops that keep the positions of their input: each output value depends on the values at its own place."""
REPLAYABLE = frozenset({OpKind.ACTIVATION, OpKind.ELEMENTWISE, OpKind.ADD, OpKind.MUL})
"""Functions of values alone, where no parameter takes part: they can be replayed on values of another size."""
PROBED = REPLAYABLE | {OpKind.OTHER, OpKind.NORM, OpKind.POOL, OpKind.REDUCE}
"""Ops that theory may have to run on values of its own."""
NONLINEAR = frozenset({OpKind.ACTIVATION, OpKind.RECURRENT})
"""Ops with a nonlinearity in which units die or saturate."""
BENDING = frozenset({OpKind.ACTIVATION, OpKind.SOFTMAX, OpKind.ATTENTION, OpKind.ATTENTION_BLOCK})
"""Ops that make a way through two maps more than one map."""
PROPORTIONAL = frozenset({OpKind.ELEMENTWISE, OpKind.MUL, OpKind.SCALE, OpKind.SHIFT})
"""Ops that give a statistic of a statistic, in a program that writes out its norms."""
STATISTIC = PROPORTIONAL | {OpKind.REDUCE}
"""What a norm written by hand makes its statistic with."""
SOFTMAX_STATISTIC = frozenset({OpKind.REDUCE, OpKind.ELEMENTWISE})
"""What a softmax written by hand finds its maximum with."""
MAPS_AND_PRODUCTS = WEIGHTED | {OpKind.MATMUL, OpKind.ATTENTION}
"""Ops after which a signal is another one."""
COMPARED = WEIGHTED | {OpKind.ADD, OpKind.NORM, OpKind.ACTIVATION, OpKind.POOL, OpKind.REDUCE, OpKind.CONCAT}
"""Ops whose outputs for different examples are compared."""
PLACED = frozenset({OpKind.LINEAR, OpKind.NORM, OpKind.ADD, OpKind.ACTIVATION, OpKind.ATTENTION_BLOCK})
"""Ops of which the places of an example are compared with one another."""
JUDGED = STRETCH_MAPS | {OpKind.EMBEDDING, OpKind.RECURRENT, OpKind.NORM, OpKind.ACTIVATION}
"""Ops whose numbers should be finite; scores and attention are not, as masks are -inf."""

# Features

KEEPS_FEATURES = ELEMENTWISE | {OpKind.NORM, OpKind.POOL, OpKind.CONCAT}
"""Ops that leave the features on the axis on which they were."""
KEEPS_PLACES = KEEPS_FEATURES | {OpKind.SLICE}
"""Ops after which a signal is spread over positions as before."""
RERUNNABLE = KEEPS_PLACES - {OpKind.DROPOUT, OpKind.NORM}
"""Ops whose output follows each of its sources, so that theory can ask their rule again with another source."""
FOLLOWED = ELEMENTWISE - {OpKind.ADD, OpKind.MUL}
"""Ops through which a recorder counts the features of a weight op: they keep each value of one tensor at its place."""

KEEPS_SIDES = ELEMENTWISE | {OpKind.MATMUL}
"""Ops of whose output's axes a recorder knows which operand of a product they come from."""
ACTING_ALONE = (LINEAR_MAPS - {OpKind.RECURRENT}) | {OpKind.NORM}
"""Ops of the model even where all that they read are parameters, if called by a framework's own function."""
DATA_LAYERS = BALANCED_MAPS | {OpKind.RECURRENT, OpKind.NORM}
"""Ops before which a function that no hook has seen is worth an op of its own."""

# Residual connections

MIXING = WEIGHTED | {OpKind.MATMUL, OpKind.ATTENTION, OpKind.POOL, OpKind.OTHER}
"""What a branch consists of; a sum of elementwise functions of one tensor, or a norm of it, is no residual."""
CROOKED = frozenset({OpKind.MATMUL, OpKind.ATTENTION, OpKind.SOFTMAX, OpKind.ACTIVATION, OpKind.OTHER})
"""What a shortcut with a projection does not contain."""
STREAM_STEPS = ELEMENTWISE | {OpKind.NORM, OpKind.SLICE, OpKind.POOL}
"""What may stand between a join of a residual stream and the next, and between a branch's last map and the join."""

# What may stand between

MOVING = frozenset({OpKind.SLICE, OpKind.DROPOUT})
"""Ops that take a part of a tensor, or drop a part of it."""
TRANSPARENT = MOVING | {OpKind.POOL, OpKind.CONCAT}
"""What may stand between a nonlinearity and the map that it feeds."""
AT_ONCE = MOVING | {OpKind.SHIFT}
"""What may stand between a map and a norm or nonlinearity that follows it at once."""
INVARIANT = AT_ONCE | {OpKind.ELEMENTWISE}
"""What may stand between a map and the norm that makes its size irrelevant."""
AFFINE = AT_ONCE | {OpKind.SCALE}
"""What may stand between a map and the sum that an adapter is added in."""
TO_NONLINEARITY = AFFINE | {OpKind.NORM}
"""What may stand between a map and the nonlinearity that it feeds."""
TO_SIGNAL = TO_NONLINEARITY | {OpKind.ADD}
"""Steps from a map to where its signal is bent next, a residual connection too: the check shows them side by side."""
ADAPTER_STEPS = (ELEMENTWISE | {OpKind.SLICE}) - {OpKind.ADD}
"""What may stand between the maps of an adapter."""
RANDOM_FEATURES = frozenset({OpKind.SLICE, OpKind.ELEMENTWISE, OpKind.SCALE, OpKind.MUL})
"""What may stand between a random projection and its sines."""
GATE_STEPS = MOVING | {OpKind.ELEMENTWISE, OpKind.REDUCE, OpKind.POOL}
"""What may stand between a gate's nonlinearity and the product that it takes part in."""
MADE_STEPS = MOVING | {OpKind.ELEMENTWISE}
"""What may stand between a map and the use of its features as a bias."""
UP_TO_A_SUM = AFFINE | {OpKind.ELEMENTWISE, OpKind.POOL, OpKind.REDUCE, OpKind.NORM, OpKind.CONCAT}
"""What may stand between a zero weight and the sum in which another signal takes its part."""
STRETCH = (UP_TO_A_SUM | {OpKind.ACTIVATION}) - {OpKind.NORM}
"""What a stretch of maps may lead through: a normalisation or a residual connection begins a new one."""
LINEAR_HEAD = UP_TO_A_SUM | MIXING | {OpKind.ADD, OpKind.MUL}
"""What a linear head may consist of."""
HEAD_STEPS = AFFINE | {
    OpKind.ELEMENTWISE,
    OpKind.ACTIVATION,
    OpKind.SOFTMAX,
    OpKind.REDUCE,
    OpKind.POOL,
    OpKind.MUL,
}
"""What may stand between the map that makes a model's outputs and the outputs."""
BRANCH_STEPS = HEAD_STEPS | {OpKind.CONCAT, OpKind.NORM, OpKind.ADD}
"""What may stand between the last map of a branch and the join."""
PASSED = AT_ONCE | {OpKind.CONCAT}
"""What leaves a signal's size as it is on its way to a nonlinearity; a sum with a bias moves it alone."""
REACHED = frozenset({OpKind.ACTIVATION, OpKind.SOFTMAX})
"""Functions whose argument has a size of its own: what bends, and where."""
HOMOGENEOUS = MOVING | {OpKind.POOL}
"""Ops that give twice the output for twice the input, whatever their function."""

# Attention

BEFORE_SOFTMAX = (ELEMENTWISE | {OpKind.SLICE}) - {OpKind.ACTIVATION}
"""What may stand between the scores of an attention and their softmax."""
AFTER_SOFTMAX = BEFORE_SOFTMAX - {OpKind.ADD}
"""What may stand between a softmax and the product with the values."""
ATTENTION_OPERAND = ELEMENTWISE | {OpKind.SLICE, OpKind.NORM, OpKind.CONCAT}
"""What may stand between a projection and the attention that it feeds: rotary positions, norms, scales."""
SCORE_ENDS = MAPS_AND_PRODUCTS | {OpKind.SOFTMAX, OpKind.NORM}
"""Ops at which a walk ends that asks whether something is added to scores."""
TOKENS = ATTENTION_OPERAND - {OpKind.ACTIVATION, OpKind.MUL, OpKind.CONCAT}
"""What may stand between a table of tokens and the sum with positions."""
# Roles of parameters

MAP_USES = frozenset({UseRole.WEIGHT, UseRole.QUERY, UseRole.KEY, UseRole.VALUE, UseRole.OUTPUT})
"""Uses of a parameter as a linear map of data."""
MAIN_USES = (MAP_USES - {UseRole.KEY}) | {UseRole.TABLE, UseRole.RECURRENT}
"""Uses that name the main parameter of an op; a key projection stands beside a query's, which comes first."""
SCALED_USES = frozenset({UseRole.WEIGHT, UseRole.TABLE, UseRole.OUTPUT})
"""Uses whose size a run can measure at the op's output: queries and keys only move the weights of a softmax."""
UNFED_USES = frozenset({UseRole.RECURRENT, UseRole.OUTPUT, UseRole.BIAS, UseRole.STATE_BIAS, UseRole.OPERAND})
"""Uses that are fed by nothing that can be measured before the op."""
