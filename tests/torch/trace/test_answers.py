"""Answers to what a model asks of tensors: the true ones where there are values, else the usual ones."""

import pytest

torch = pytest.importorskip("torch")

from fanwise.torch.trace.answers import Answers  # noqa: E402
from fanwise.torch.trace.invocation import Invocation  # noqa: E402

META = torch.ones(3, device="meta")


def ask(answers, function, name, tensor):
    return answers.answer(Invocation(function, name, (tensor,), {}))


@pytest.mark.parametrize(("function", "name", "truth"), [(torch.all, "all", False), (torch.any, "any", True)])
def test_tensors_with_values_are_asked(function, name, truth):
    answers, mixed = Answers(), torch.tensor([True, False])
    output = ask(answers, function, name, mixed)
    assert output.item() is truth
    assert ask(answers, torch.Tensor.__bool__, "bool", output) is truth


@pytest.mark.parametrize(("function", "name", "usual"), [(torch.all, "all", True), (torch.any, "any", False)])
@pytest.mark.parametrize(("read", "word"), [(torch.Tensor.__bool__, "bool"), (torch.Tensor.item, "item")])
def test_tensors_without_values_get_the_usual_answer(function, name, usual, read, word):
    answers = Answers()
    output = ask(answers, function, name, META)
    assert output.is_meta
    assert ask(answers, read, word, output) is usual


def test_whether_they_contain_something():
    assert Answers().answer(Invocation(torch.Tensor.__contains__, "contains", (META, 1.0), {})) is False


def test_a_question_whose_answer_is_not_known_goes_to_torch():
    answers = Answers()
    with pytest.raises(RuntimeError):
        ask(answers, torch.Tensor.__bool__, "bool", torch.ones((), device="meta"))
    assert ask(answers, torch.numel, "numel", META) == 3


def test_questions_about_all_elements_have_the_shape_of_a_truth_value():
    answers = Answers()
    output = ask(answers, torch.ops.aten._is_all_true.default, "is_all_true", META)
    assert (output.dtype, output.shape) == (torch.bool, ())
    assert ask(answers, torch.Tensor.item, "item", output) is True


def test_a_question_without_a_tensor():
    assert Answers().answer(Invocation(len, "len", ([1, 2],), {})) == 2
