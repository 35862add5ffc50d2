"""MoDE: mixtures whose experts distil into each other; the layer, its losses, the table and image experiments, probing."""
