"""What `compare` does unless told otherwise. Imports nothing, so that the command line can show it at once."""

NETWORK = "normbench.comparison.demo:small_network"
ARMS = ("own", "BN", "GN", "LN", "IN", "none")
SEEDS = 10
EPOCHS = 10
BATCH_SIZE = 128
OPTIMIZER = "sgd"
