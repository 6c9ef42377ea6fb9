"""What differs between the frameworks.

`DIFFERENCES` are faults: each line marks the cases of the contract that fail for it today as strict xfail, so that
mending one turns its cases red until its line is deleted. When none is left, so are this table and its hook in
`conftest`. `MEANT` are differences of the frameworks themselves, which stay; the contract leaves room for them.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

JAX = ("jax", "flax", "equinox")


@dataclass(frozen=True)
class Difference:
    """A fault.

    Args:
        words: what differs.
        where: the source that it comes from.
        test: pattern of the case that shows it, as "module::function".
        frameworks: those in which it fails.
        case: pattern of the case's other parameters.
    """

    words: str
    where: str
    test: str
    frameworks: tuple[str, ...]
    case: str = "*"

    def concerns(self, module: str, function: str, callspec: Any) -> bool:
        """Whether a case shows it."""
        named = callspec.params.get("framework") in self.frameworks and fnmatchcase(f"{module}::{function}", self.test)
        return named and fnmatchcase(callspec.id, self.case)


KERAS = ("keras",)
TORCH = ("torch",)
EVERY = ("torch", *JAX, *KERAS)

DIFFERENCES: tuple[Difference, ...] = (
    # Names and shapes of what the verbs take and return
    Difference(
        "apply calls the stream of a model key=, manifest seed=",
        "torch/weights/manifest.py, jax/weights/manifest.py, keras/weights/manifest.py: manifest",
        "test_signatures::test_the_stream_of_a_model_has_one_name",
        EVERY,
    ),
    Difference(
        "calibrate returns (model, result) in JAX, the result elsewhere",
        "jax/api/calibrate.py: calibrate",
        "test_calibrate::test_the_result_has_one_shape",
        JAX,
    ),
    Difference(
        "fix has apply= and key= in PyTorch, not in Keras, whose models change in place too",
        "keras/api/fix.py: fix",
        "test_signatures::test_what_changes_a_model_in_place_may_mend_it_at_once",
        KERAS,
    ),
    Difference(
        "fix has apply= and key= in PyTorch, not in Keras, whose models change in place too",
        "keras/api/fix.py: fix",
        "test_fix::test_it_may_be_applied_at_once_where_models_change_in_place",
        KERAS,
    ),
    Difference(
        "Visitor, which run takes, cannot be imported from fanwise.jax",
        "jax/__init__.py",
        "test_signatures::test_what_verbs_take_and_return_can_be_imported",
        JAX,
        "*Visitor",
    ),
    Difference(
        "Mending, which fix returns, can be imported from fanwise.torch alone",
        "jax/__init__.py, keras/__init__.py",
        "test_signatures::test_what_verbs_take_and_return_can_be_imported",
        (*JAX, *KERAS),
        "*Mending",
    ),
    Difference(
        "the page of parameters does not say what its argument is in Keras",
        "keras/trace/variables.py: parameters",
        "test_signatures::test_every_verb_has_a_page",
        KERAS,
        "*parameters",
    ),
    # Losses and batches
    Difference(
        "a function that computes a known loss is judged against a guess in PyTorch and JAX, not in Keras",
        "keras/measure/losses.py: Judge.told",
        "test_losses::test_a_function_that_computes_a_known_loss_is_judged_as_it",
        KERAS,
    ),
    Difference(
        "without a backward pass PyTorch still tells a loss, JAX and Keras tell none, as Observation.loss says",
        "torch/measure/observe.py: observe",
        "test_check::test_without_a_backward_pass_no_loss_is_told",
        TORCH,
    ),
    # Inputs
    Difference(
        "inputs in words are drawn by torch.Generator in PyTorch, from the stream elsewhere",
        "torch/trace/input_specs.py: _tensor",
        "test_inputs::test_words_are_the_same_numbers_in_every_framework",
        TORCH,
    ),
    Difference(
        "a plan and a report tell shapes in Keras where they were given words",
        "keras/trace/inputs.py: inputs_text",
        "test_inputs::test_a_plan_and_a_report_tell_the_words_that_they_were_given",
        KERAS,
        "*16",
    ),
    Difference(
        "a plan and a report tell shapes in Keras where they were given words",
        "keras/trace/inputs.py: inputs_text",
        "test_inputs::test_a_plan_and_a_report_tell_the_words_that_they_were_given",
        KERAS,
        "* ",
    ),
    Difference(
        "the names of a mapping are left out of the inputs in words in Keras",
        "keras/trace/inputs.py: inputs_text",
        "test_inputs::test_a_plan_and_a_report_tell_names",
        KERAS,
    ),
    Difference(
        "plan(3, batch) is an AttributeError in PyTorch: the inputs are made before the model is looked at",
        "torch/api/plan.py: plan",
        "test_check::test_what_is_no_model_is_refused",
        TORCH,
        "*plan",
    ),
    # Statistics of weights
)

MEANT: Mapping[str, str] = {
    "paths": "Names are the framework's own: a.weight, a.kernel, a/kernel; so are the axes of what is stored.",
    "in place": "PyTorch and Keras change the model that they are given and return it; JAX returns another, so that it "
    "has no write, and fix no apply=.",
    "arrays": "PyTorch takes tensors and lists of them as arguments; JAX and Keras take NumPy arrays, too. A list or "
    "mapping is Keras' one argument, with a loss too; several arguments, the last one the target, elsewhere.",
    "no inputs": "plan and check of PyTorch may leave inputs to a transformers configuration, Keras to a functional "
    "model; a function of JAX does not say what it takes, so that inputs has no default there.",
    "factories": "A factory takes a key in JAX, and no argument elsewhere, where the framework's own seed is set.",
    "losses": "A function of one's own takes (output, target) in PyTorch and JAX, and (target, output) in Keras, and "
    "may give one number an example there; Keras' own names and instances of losses serve there besides.",
    "sources": "check of PyTorch tells where modules are constructed (places=): others do not keep their sources.",
    "keys": "JAX' own keys serve as key= there.",
    "memory": "Models without memory (materialize, --meta) are of PyTorch and JAX: a Keras model is built with values.",
    "files": "calibrate --write writes .safetensors, and Keras' own formats for Keras.",
    "code": "fix gives PyTorch's users code that needs PyTorch alone; JAX' and Keras' users call fanwise again.",
}
