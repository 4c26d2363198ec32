"""Networks, and the reading of the weights they start from."""
