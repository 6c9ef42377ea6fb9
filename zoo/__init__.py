"""Every model that the tests and the benches use: one record (`model.py`), one registry (`registry.py`).

    from zoo.registry import models
    models("torch")                 # what the check is judged on: healthy and broken, tuned and held out
    models("jax", "structure")      # tiny models, on which runs and plans are tested

To add a model, write a function that builds it in the file of its framework and family (`zoo/torch/cnn/residual.py`,
`zoo/jax/mlp.py`, ...) and its row in the tuple `MODELS` at the end of that file; nothing else has to know of it. A row
says which split it belongs to: "tuned" where a threshold may be chosen with it in sight, "held_out" where the model was
chosen without a look at the rules and judges them, "reports" where a public report of a training that failed was
rebuilt, broken and mended. A broken model is a row in `breaks`, made from a healthy one by a
change. A new file is named in `FILES` of its framework. Building blocks that two files use stand in `layers.py`, laws
for weights in `laws.py`, batches in `batches.py`.

The zoo comes with the repository and its source distribution, not with the wheel.
"""
