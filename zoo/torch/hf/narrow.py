"""Sizes of models of transformers, 96 wide and six deep."""

from zoo.torch.batches import ids
from zoo.torch.hf import middle

SIZE = {"hidden_size": 96, "num_hidden_layers": 6, "intermediate_size": 256}
ENCODER, DECODER, PAIR, VIEW = (x | SIZE for x in (middle.ENCODER, middle.DECODER, middle.PAIR, middle.VIEW))
DECODER |= {"head_dim": 24, "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0}}
FEW = DECODER | {"num_local_experts": 4, "num_experts_per_tok": 2, "num_hidden_layers": 4}
STAGES = {"num_labels": 6, "image_size": 64, "classifier_dropout_prob": 0.1}
SOUND = middle.SPEECH | SIZE | {"ctc_loss_reduction": "mean"}
CTC = middle.waves(ids(12, 8, high=23, seed=330) + 1)
T5 = {"vocab_size": 320, "d_model": 96, "d_ff": 256, "num_heads": 4, "num_layers": 4, "decoder_start_token_id": 0}
SWIFT = {"depths": [2, 2, 3, 2], "embed_dims": [24, 48, 96, 128]}
TUBES = {"tubelet_size": [2, 8, 8]}
