"""The ports that several stages share, so that what one gives another can take."""

from moist.runtime.stage import Port

DATASET = Port("dataset", "Dataset", "images and labels: train, validation and held-out test split")
TEACHER = Port("teacher", "Model", "the expensive classifier")
LOGITS = Port("logits", "Dataset", "the teacher's logits over the training images, plain and augmented")
CLUSTERS = Port("clusters", "Artifact", "which student each class belongs to")
STUDENT = Port("student", "Model", "a single small classifier")
ROUTER = Port("router", "Model", "the network that chooses a student")
MIXTURE = Port("mixture", "Model", "router and students together")
METRICS = Port("metrics", "Metrics", "what the stage measured")
CURVES = Port("curves", "HTML", "training curves, one value an epoch")
TABLE = Port("table", "Dataset", "a table of numbers with a class for every row")
TABLE_MIXTURES = Port("table mixtures", "Model", "mixtures of every seed and distillation strength, on one table")
TABLE_RESULTS = Port("table results", "Metrics", "what was measured on one table: accuracies, probing, gradients")
TRANSLATION_RESULTS = Port("translation results", "Metrics", "BLEU of one translator on one corpus")
IMAGE_RESULTS = Port("image results", "Metrics", "what was measured on one image data set: accuracies and probing")
