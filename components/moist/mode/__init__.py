"""MoDE: mixtures whose experts distil into each other; the layer, its losses, its experiments, probing."""
