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
        "check tells Keras users no progress",
        "keras/api/check.py: check, _Way",
        "test_check::test_progress_is_told*",
        KERAS,
    ),
    Difference(
        "check has no progress= in Keras",
        "keras/api/check.py: check",
        "test_signatures::test_arguments_have_one_name_and_one_order",
        KERAS,
        "*check",
    ),
    Difference(
        "check has no progress= in Keras",
        "keras/api/check.py: check",
        "test_signatures::test_choices_are_given_by_name",
        KERAS,
        "*check",
    ),
    Difference(
        "check of a factory tells PyTorch users that it builds, JAX users that it runs alone",
        "jax/api/check.py: _Way.of_factory",
        "test_check::test_progress_is_told_of_each_seed",
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
        "Inputs without named arguments holds None in PyTorch and Keras, an empty mapping in JAX",
        "torch/trace/run.py, keras/trace/run.py: Inputs.kwargs",
        "test_signatures::test_inputs_hold_named_arguments_in_a_mapping",
        ("torch", *KERAS),
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
        "losses that go by one name in PyTorch and JAX are unknown to Keras: cross_entropy, mse_loss, "
        "binary_cross_entropy_with_logits",
        "keras/measure/losses.py: checked_loss",
        "test_losses::test_losses_by_name",
        KERAS,
    ),
    Difference(
        "cross_entropy is unknown to Keras",
        "keras/measure/losses.py: checked_loss",
        "test_losses::test_cross_entropy_takes_shares_of_each_class",
        KERAS,
    ),
    Difference(
        "cross_entropy is unknown to Keras",
        "keras/measure/losses.py: checked_loss",
        "test_commands::test_check_by_name_of_the_loss",
        KERAS,
    ),
    Difference(
        "the message on an unknown loss lists the names that there are in PyTorch and JAX, one of them in Keras",
        "keras/measure/losses.py: checked_loss",
        "test_losses::test_the_names_that_there_are_stand_in_the_message",
        KERAS,
    ),
    Difference(
        "a function that computes a known loss is judged against a guess in PyTorch and JAX, not in Keras",
        "keras/measure/losses.py: Judge.told",
        "test_losses::test_a_function_that_computes_a_known_loss_is_judged_as_it",
        KERAS,
    ),
    Difference(
        "a mapping with a target is no batch with a loss in Keras",
        "keras/measure/losses.py: split",
        "test_losses::test_a_mapping_holds_its_target_by_name",
        KERAS,
    ),
    Difference(
        "a list is no batch with a loss in Keras",
        "keras/measure/losses.py: split",
        "test_losses::test_the_last_of_a_sequence_is_the_target",
        KERAS,
        "*list",
    ),
    Difference(
        "a batch without a target gets one that is drawn in PyTorch and JAX, an error in Keras",
        "keras/measure/losses.py: split",
        "test_losses::test_a_batch_without_a_target_gets_one_that_is_drawn",
        KERAS,
    ),
    Difference(
        "a batch without a target is an error in Keras",
        "keras/measure/losses.py: split",
        "test_losses::test_drawn_targets_are_the_same_at_every_call",
        KERAS,
    ),
    Difference(
        "targets are drawn by torch.Generator in PyTorch, by NumPy's generator in JAX, not at all in Keras",
        "torch/measure/losses.py: _drawn_target; keras/measure/losses.py: split",
        "test_losses::test_drawn_targets_are_the_same_in_every_framework",
        ("torch", *KERAS),
    ),
    Difference(
        "a mapping with a target is no batch with a loss in Keras",
        "keras/measure/losses.py: split",
        "test_losses::test_fix_and_calibrate_split_a_batch_alike",
        KERAS,
    ),
    Difference(
        "a mapping, and a batch without a target, are no data with a loss in Keras",
        "keras/measure/losses.py: split",
        "test_commands::test_check_on_data_in_every_form",
        KERAS,
        "*mapping",
    ),
    Difference(
        "a mapping, and a batch without a target, are no data with a loss in Keras",
        "keras/measure/losses.py: split",
        "test_commands::test_check_on_data_in_every_form",
        KERAS,
        "*array",
    ),
    Difference(
        "the random projection has other signs in each framework: of torch.Generator, NumPy's, the stream (Keras)",
        "torch/measure/losses.py: _probe; jax/measure/losses.py: _own",
        "test_losses::test_the_projection_is_the_same_in_every_framework",
        ("torch", *JAX),
    ),
    Difference(
        "a loss that a model returns itself is taken for an output in Keras",
        "keras/measure/losses.py: Judge.value",
        "test_losses::test_a_model_may_return_its_own_loss",
        KERAS,
    ),
    Difference(
        "calibrate of PyTorch looks at loss= with balance=True alone: a bad one is let through",
        "torch/api/calibrate.py: calibrate",
        "test_losses::test_bad_losses_are_refused",
        TORCH,
        "*calibrate*",
    ),
    Difference(
        "a class given for a loss is refused in PyTorch and Keras, called in JAX",
        "jax/measure/losses.py: checked_loss",
        "test_losses::test_bad_losses_are_refused",
        JAX,
        "*a class*",
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
    Difference(
        "the histogram of an all-zero weight lies in bin 0 in PyTorch, in bin 16, where zeros lie, in JAX and Keras",
        "torch/measure/weight_statistics.py: _histogram",
        "test_statistics::test_zeros_lie_in_the_bin_on_the_right_of_the_middle",
        TORCH,
        "*1.0",
    ),
    Difference(
        "the histogram of an all-zero weight lies in bin 0 in the NumPy network",
        "lab/weighing.py: _histogram",
        "test_statistics::test_all_zeros_lie_in_one_bin_here_and_there",
        (*JAX, *KERAS),
    ),
)

MEANT: Mapping[str, str] = {
    "paths": "Names are the framework's own: a.weight, a.kernel, a/kernel; so are the axes of what is stored.",
    "in place": "PyTorch and Keras change the model that they are given and return it; JAX returns another, so that it "
    "has no write, and fix no apply=.",
    "arrays": "PyTorch takes tensors and lists of them as arguments; JAX and Keras take NumPy arrays, too. A list or "
    "mapping is Keras' one argument, and several arguments in PyTorch and JAX.",
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
