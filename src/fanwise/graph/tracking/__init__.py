"""What every adapter does alike while a model runs: calls become ops, values are followed, a visitor is shown each."""
