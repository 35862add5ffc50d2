"""The MoDE paper's printed numbers, to stand beside ours: accuracies 0-1 as (mean, standard deviation) of 10 runs."""

from typing import NamedTuple

Printed = tuple[float, float]


class PrintedRow(NamedTuple):
    """One line of Table 3."""

    single: Printed
    dense_moe: Printed
    dense_mode: Printed
    sparse_moe: Printed
    sparse_mode: Printed


TABLE_3 = {
    "isolet": PrintedRow((0.9228, 0.0064), (0.9305, 0.0065), (0.9450, 0.0074), (0.9426, 0.0035), (0.9546, 0.0034)),
    "mfeat-karhunen": PrintedRow(
        (0.9388, 0.0103), (0.9380, 0.0136), (0.9525, 0.0079), (0.9498, 0.0126), (0.9603, 0.0086)
    ),
    "mfeat-factors": PrintedRow(
        (0.9617, 0.0080), (0.9660, 0.0099), (0.9735, 0.0091), (0.9662, 0.0090), (0.9745, 0.0048)
    ),
    "optdigits": PrintedRow((0.9658, 0.0081), (0.9712, 0.0041), (0.9758, 0.0038), (0.9760, 0.0035), (0.9798, 0.0040)),
    "satimage": PrintedRow((0.8772, 0.0090), (0.8872, 0.0097), (0.8951, 0.0102), (0.8945, 0.0094), (0.8970, 0.0085)),
    "first-order-theorem-proving": PrintedRow(
        (0.5202, 0.0156), (0.5269, 0.0209), (0.5366, 0.0210), (0.5429, 0.01645), (0.5611, 0.01499)
    ),
    "artificial-characters": PrintedRow(
        (0.5994, 0.0076), (0.6296, 0.0113), (0.6425, 0.0110), (0.6619, 0.01372), (0.6658, 0.01354)
    ),
}

TABLE_4 = {  # BLEU: single, MoE, MoDE
    "iwslt14 de-en": (34.60, 34.88, 35.14),
    "iwslt14 en-de": (28.78, 28.66, 28.91),
    "iwslt17 ar-en": (32.92, 29.81, 33.17),
    "iwslt17 en-ar": (14.42, 14.46, 15.40),
    "wmt14 en-de": (27.90, 29.10, 29.48),
}

TABLE_5 = {  # single, MoE, MoDE
    "mnist": (0.9889, 0.9886, 0.9918),
    "fashion-mnist": (0.8973, 0.9057, 0.9083),
    "cifar10": (0.9462, 0.9444, 0.9519),
    "cifar100": (0.7594, 0.7545, 0.7824),
}


class PrintedProbe(NamedTuple):
    """One column of Table 6 (mfeat-karhunen, two experts, 400 test rows). The printed counts contradict each other:
    masked .9400 of 400 is 376 right, while recognition counts 380; both must be the same number."""

    accuracy: float
    masked_accuracy: float
    domain_accuracy: tuple[float, float]
    inclination: float
    recognition_accuracy: float
    recognised: int
    recognisable: int
    consistency: float


TABLE_6 = {  # by alpha
    0.0: PrintedProbe(0.9450, 0.9400, (0.9275, 0.9669), 0.9496, 0.9768, 380, 389, 0.0150),
    0.01: PrintedProbe(0.9625, 0.9600, (0.9525, 0.9756), 0.9661, 0.9795, 384, 392, 0.6125),
    100.0: PrintedProbe(0.9450, 0.9425, (0.9600, 0.9590), 0.9108, 1.000, 377, 377, 1.000),
}

TABLE_7 = {  # by table, by number of experts: MoE, MoDE
    "isolet": {
        2: ((0.9305, 0.0065), (0.9450, 0.0074)),
        4: ((0.9352, 0.0068), (0.9483, 0.0059)),
        8: ((0.9410, 0.0076), (0.9522, 0.0046)),
    },
    "mfeat-karhunen": {
        2: ((0.9380, 0.0136), (0.9525, 0.0079)),
        4: ((0.9432, 0.0109), (0.9543, 0.0109)),
        8: ((0.9433, 0.0096), (0.9602, 0.0083)),
    },
    "mfeat-factors": {
        2: ((0.9660, 0.0099), (0.9735, 0.0091)),
        4: ((0.9620, 0.0057), (0.9742, 0.0040)),
        8: ((0.9617, 0.0060), (0.9755, 0.0058)),
    },
    "optdigits": {
        2: ((0.9712, 0.0041), (0.9758, 0.0038)),
        4: ((0.9711, 0.0025), (0.9762, 0.0042)),
        8: ((0.9737, 0.0060), (0.9781, 0.0043)),
    },
    "satimage": {
        2: ((0.8872, 0.0097), (0.8951, 0.0102)),
        4: ((0.8925, 0.0117), (0.8950, 0.0093)),
        8: ((0.8990, 0.0079), (0.9005, 0.0088)),
    },
    "first-order-theorem-proving": {
        2: ((0.5269, 0.0209), (0.5366, 0.0210)),
        4: ((0.5315, 0.0193), (0.5388, 0.0158)),
        8: ((0.5370, 0.0151), (0.5450, 0.0163)),
    },
    "artificial-characters": {
        2: ((0.6296, 0.0113), (0.6425, 0.0110)),
        4: ((0.6477, 0.0079), (0.6568, 0.0163)),
        8: ((0.6540, 0.0167), (0.6644, 0.0110)),
    },
}
