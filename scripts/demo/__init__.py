"""The demonstration: `workshop` gets this machine ready, `story` tells what the product does."""
