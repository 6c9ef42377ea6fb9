"""Labels that are drawn for transformers models: the own loss of each class is judged."""

import math

import pytest
import torch

import fanwise.torch as fwt
from fanwise.torch.trace.hf_inputs import configured
from fanwise.torch.trace.hf_labels import labelled

transformers = pytest.importorskip("transformers")

SMALL = {
    "vocab_size": 99,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 64,
    "max_position_embeddings": 64,
}


def bert(kind, **options):
    torch.manual_seed(0)
    return getattr(transformers, kind)(transformers.BertConfig(**SMALL, **options))


def t5(std):
    torch.manual_seed(0)
    config = transformers.T5Config(
        vocab_size=512, d_model=64, d_kv=16, d_ff=128, num_layers=2, num_heads=4, tie_word_embeddings=False
    )
    model = transformers.T5ForConditionalGeneration(config)
    torch.nn.init.normal_(model.lm_head.weight, std=std)
    return model


def segformer():
    torch.manual_seed(0)
    sizes = {"hidden_sizes": [8, 16, 24, 32], "depths": [1] * 4, "decoder_hidden_size": 16}
    return transformers.SegformerForSemanticSegmentation(transformers.SegformerConfig(num_labels=5, **sizes))


CLASSES = {
    "BertForMaskedLM": 99,
    "BertLMHeadModel": 99,
    "BertForSequenceClassification": 2,
    "BertForTokenClassification": 2,
    "BertForNextSentencePrediction": 2,
    "BertForQuestionAnswering": 32,
}
"""Among how many a model of each class decides; of an answer's start and end, among the tokens."""


@pytest.mark.parametrize("kind", CLASSES)
def test_every_class_of_model_with_labels_has_its_own_loss(kind):
    loss = fwt.check(bert(kind)).observations[0].loss
    assert loss.name == "the model's own"
    assert loss.chance == pytest.approx(math.log(CLASSES[kind]), rel=1e-5)
    assert abs(loss.value - loss.chance) < 0.3  # heads of std 0.02


def test_a_segmentation_is_labelled_by_pixel():
    loss = fwt.check(segformer()).observations[0].loss
    assert loss.chance == pytest.approx(math.log(5), rel=1e-5)


@pytest.mark.parametrize(("problem", "count"), [("regression", 1), ("multi_label_classification", 3)])
def test_what_the_configuration_says_of_the_problem(problem, count):
    loss = fwt.check(bert("BertForSequenceClassification", problem_type=problem, num_labels=count)).observations[0].loss
    assert loss.name == "the model's own"
    assert loss.value == pytest.approx(loss.chance, rel=0.2)
    assert 0 < loss.constant <= loss.chance


@pytest.mark.parametrize(("std", "found"), [(1.0, True), (0.01, False)])
def test_an_untied_head_that_is_too_loud(std, found):
    """The decoder's own tokens are no labels: a model that copies them would look trained."""
    report = fwt.check(t5(std))
    assert (report.observations[0].loss.value > 2 * math.log(512)) == found
    assert ("LOS001" in [each.code for root in report.findings for each in root.walk()]) == found


def test_labels_that_are_given_stay_and_models_without_any_get_none():
    model = bert("BertModel")
    given = configured(model)
    assert labelled(model, given) is given
    model = bert("BertForMaskedLM")
    own = fwt.Inputs((), {**configured(model).kwargs, "labels": torch.zeros(2, 32, dtype=torch.int64)})
    assert labelled(model, own) is own


def test_a_run_for_labels_leaves_the_model_as_it_was():
    model = bert("BertForSequenceClassification")
    before = {name: value.clone() for name, value in model.state_dict().items()}
    state = torch.random.get_rng_state()
    labelled(model, configured(model))
    assert torch.equal(torch.random.get_rng_state(), state)
    assert model.training
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
