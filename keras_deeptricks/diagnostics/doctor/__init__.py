"""The training doctor: checks of a model, its data and its training."""
