"""The parts of `python -m bench sweep`: configurations made small, one architecture judged, the table."""

import pytest

torch = pytest.importorskip("torch", reason="torch is not installed")
tf = pytest.importorskip("transformers", reason="transformers is not installed")

from bench.architectures.judged import judge  # noqa: E402
from bench.architectures.record import Judged  # noqa: E402
from bench.architectures.search import Size, sizes, smallest  # noqa: E402
from bench.architectures.shrunk import changed, shrunk  # noqa: E402
from bench.architectures.table import show  # noqa: E402
from bench.sweep import matching, read, swept  # noqa: E402


def small(config_class, level=0):
    return config_class(**shrunk(config_class(), level))


def test_widths_heads_depth_and_words_become_small_and_still_fit():
    config = small(tf.LlamaConfig)
    assert (config.hidden_size, config.num_attention_heads, config.num_hidden_layers, config.vocab_size) == (
        64,
        4,
        2,
        512,
    )
    assert config.hidden_size % config.num_attention_heads == 0
    assert config.num_attention_heads % config.num_key_value_heads == 0


def test_parts_are_made_small_alike():
    config = small(tf.CLIPConfig)
    assert config.text_config.hidden_size == config.vision_config.hidden_size == config.projection_dim == 64
    assert config.vision_config.image_size == 4 * config.vision_config.patch_size


def test_stages_keep_their_proportions():
    config = small(tf.PvtConfig)
    assert [width / config.hidden_sizes[0] for width in config.hidden_sizes] == [
        width / tf.PvtConfig().hidden_sizes[0] for width in tf.PvtConfig().hidden_sizes
    ]
    assert all(width % heads == 0 for width, heads in zip(config.hidden_sizes, config.num_attention_heads, strict=True))


def test_each_kind_of_layer_is_left():
    before = tf.Qwen3NextConfig()
    assert set(small(tf.Qwen3NextConfig).layer_types) == set(before.layer_types)
    assert len(small(tf.Qwen3NextConfig).layer_types) == small(tf.Qwen3NextConfig).num_hidden_layers


def test_a_higher_level_keeps_the_widths():
    assert small(tf.BertConfig, 1).hidden_size == tf.BertConfig().hidden_size
    assert small(tf.BertConfig, 1).num_hidden_layers == 2
    assert small(tf.BertConfig, 2).num_hidden_layers == tf.BertConfig().num_hidden_layers


def test_rotations_that_are_cut_among_axes_fill_the_smaller_heads():
    config = small(tf.Qwen2VLConfig).text_config
    assert sum(config.rope_parameters["mrope_section"]) == config.hidden_size // config.num_attention_heads // 2


def test_parts_of_any_name_are_made_small():
    config = small(tf.T5GemmaConfig)
    assert config.encoder.hidden_size == config.decoder.hidden_size == 64


def test_empty_fields_are_filled_when_asked_for():
    before = tf.DeepseekV2Config()
    assert changed(before)["num_experts_per_tok"] is False
    assert tf.DeepseekV2Config(**shrunk(before, fill=("num_experts_per_tok",))).num_experts_per_tok == 2
    assert small(tf.DeepseekV2Config).num_experts_per_tok is None


def test_lists_with_an_item_for_each_layer_are_cut_and_scans_keep_their_width():
    config = small(tf.Mamba2Config)
    assert config.num_heads * config.head_dim == config.expand * config.hidden_size
    assert len(shrunk(Layered())["heads_per_layer"]) == shrunk(Layered())["num_hidden_layers"] == 2


class Layered(tf.GPT2Config):
    """A configuration with a list for its layers."""

    def to_dict(self):
        return {"num_hidden_layers": 4, "heads_per_layer": [8, 8, 8, 8]}


def test_fields_that_an_error_names_are_left_as_they_are():
    search = sizes(tf.LlamaConfig())
    assert next(search) == Size()
    assert search.send("`hidden_size` is wrong") == Size(0, ("hidden_size",))
    assert search.send("now num_hidden_layers is") == Size(0, ("hidden_size", "num_hidden_layers"))


def test_the_smallest_that_runs_is_taken():
    record = Judged("deepseek_v2")
    config, model = smallest(record, tf.DeepseekV2Config, 10**7)
    assert (config.hidden_size, config.num_experts_per_tok, record.stage) == (64, 2, "inputs")
    assert "num_experts_per_tok" in record.adjusted
    assert type(model).__name__ == record.model


@pytest.mark.parametrize(("name", "config"), [("gpt2", "GPT2Config"), ("vit", "ViTConfig")])
def test_an_architecture_is_planned_printed_read_back_applied_and_checked(name, config):
    record = judge(name, getattr(tf, config))
    assert (record.stage, record.reason) == ("done", "")
    assert record.printed
    assert record.applied
    assert record.lawless == record.findings == ()
    assert record.tensors > 20


class Stubborn(tf.GPT2Config):
    """A configuration that cannot be made."""

    def __init__(self, **values):
        raise RuntimeError("no")


class Endless(tf.GPT2Config):
    """A configuration whose making takes for ever."""

    def __init__(self, **values):
        while True:
            pass


@pytest.mark.filterwarnings("ignore:os.fork:RuntimeWarning")  # JAX, where another test has loaded it
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_one_that_fails_or_hangs_does_not_end_the_sweep():
    records = {one.name: one for one in swept({"a": Stubborn, "b": Endless}, 2, 3.0)}
    assert (records["a"].stage, records["a"].reason) == (
        "build",
        "ValueError: the library does not make its own default: RuntimeError: no",
    )
    assert (records["b"].stage, records["b"].reason) == ("crash", "over 3 s")


def test_the_table_counts_what_came(capsys):
    show(
        [
            Judged("good", "Good", 0, 1000, 10, 0, (), True, True, (), 1.0, "done"),
            Judged("bad", "Bad", 0, 1000, 10, 0, ("w",), True, True, ("LAY001 w: large",), 1.0, "done"),
            Judged("none", reason="ValueError: no model"),
        ]
    )
    shown = capsys.readouterr().out
    assert "3 architectures, 2 run" in shown
    assert "not built                 1" in shown
    assert f"{100 * 19 / 20:.2f} % explained" in shown
    assert "LAY001     1" in shown
    assert "none                               not run (build): ValueError: no model" in shown


def test_patterns_choose_and_no_file_is_no_record(tmp_path):
    assert matching(["gpt2", "bert", "gpt_neo"], ["gpt*"]) == ["gpt2", "gpt_neo"]
    assert matching(["gpt2"], []) == ["gpt2"]
    assert read(tmp_path / "none.json") == []
