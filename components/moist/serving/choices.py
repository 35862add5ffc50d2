"""ONNX nodes that choose the students of each image from the router's logits, and merge two students' answers."""

from onnx import NodeProto, TensorProto, helper

IMAGES, ROUTER_LOGITS, STUDENT, LOGITS = "images", "router_logits", "student", "logits"
"""The model's input, and its outputs."""
ROUTER_ANSWERS = "router_answers"
"""float (B, classes): the logits of a router that answers itself."""
SENT_TO = "sent_to"
"""int64 (B,), or (2, B) where there are second choices: the student of each image, -1 for none."""
LAST = "last"
"""-1, the number of the last row."""

_UNSURE, _LOG_SHARES, _FIRST_AXIS = "unsure", "log_shares", "first_axis"


def first_choices() -> list[NodeProto]:
    """Each image goes to the student with the largest router logit."""
    return [
        helper.make_node("ArgMax", [ROUTER_LOGITS], [STUDENT], axis=1, keepdims=0),
        helper.make_node("Identity", [STUDENT], [SENT_TO]),
    ]


def both_choices(temperature: float, below: float) -> list[NodeProto]:
    """As `Mixture`: where the router is at most `below` sure, 0-1, an image goes to its second choice as well."""
    return [
        _whole(_FIRST_AXIS, 0),
        _whole("second_axis", 1),
        _whole("third_axis", 2),
        _number("temperature", temperature),
        helper.make_node("Div", [ROUTER_LOGITS, "temperature"], ["scaled_router_logits"]),
        helper.make_node("Softmax", ["scaled_router_logits"], ["router_probabilities"], axis=1),
        _whole("two", 2),
        helper.make_node("TopK", ["router_probabilities", "two"], ["probabilities_of_both", "both"], axis=1),
        helper.make_node("Constant", [], ["first"], value_int=0),
        helper.make_node("Constant", [], ["second"], value_int=1),
        helper.make_node("Gather", ["both", "first"], [STUDENT], axis=1),
        helper.make_node("Gather", ["both", "second"], ["second_choice"], axis=1),
        helper.make_node("Gather", ["probabilities_of_both", "first"], ["certainty"], axis=1),
        _number("second_below", below),
        helper.make_node("LessOrEqual", ["certainty", "second_below"], [_UNSURE]),
        helper.make_node("Constant", [], ["none"], value_int=-1),
        helper.make_node("Where", [_UNSURE, "second_choice", "none"], ["second_student"]),
        helper.make_node("Unsqueeze", [STUDENT, _FIRST_AXIS], ["first_row"]),
        helper.make_node("Unsqueeze", ["second_student", _FIRST_AXIS], ["second_row"]),
        helper.make_node("Concat", ["first_row", "second_row"], [SENT_TO], axis=0),
        helper.make_node("ReduceSum", ["probabilities_of_both", "second_axis"], ["probability_of_either"], keepdims=1),
        helper.make_node("Div", ["probabilities_of_both", "probability_of_either"], ["shares"]),
        helper.make_node("Log", ["shares"], ["log_shares_of_images"]),
        helper.make_node("Transpose", ["log_shares_of_images"], ["log_shares_of_choices"], perm=[1, 0]),
        helper.make_node("Unsqueeze", ["log_shares_of_choices", "third_axis"], [_LOG_SHARES]),
    ]


def unsure_choices(below: float) -> list[NodeProto]:
    """As `Mixture` whose router answers: an image goes to its student where the router is at most `below` sure, 0-1."""
    return [
        _whole("column", 1),
        helper.make_node("ArgMax", [ROUTER_LOGITS], ["choice"], axis=1, keepdims=0),
        helper.make_node("Softmax", [ROUTER_ANSWERS], ["class_probabilities"], axis=1),
        helper.make_node("ReduceMax", ["class_probabilities", "column"], ["certainty"], keepdims=0),
        _number("second_below", below),
        helper.make_node("LessOrEqual", ["certainty", "second_below"], [_UNSURE]),
        helper.make_node("Constant", [], ["none"], value_int=-1),
        helper.make_node("Where", [_UNSURE, "choice", "none"], [STUDENT]),
        helper.make_node("Identity", [STUDENT], [SENT_TO]),
    ]


def with_own_answer(answer: str, own: str, number: int, asked: int) -> tuple[list[NodeProto], str]:
    """The mean of the router's logits and of others, of which `answer` is the sum of so many as `asked` says.

    Nodes that make it, and its name; `number` tells students apart.
    """
    total, share, mean = (f"{value}_of_{number}" for value in ("total", "share", "mean"))
    nodes = [
        helper.make_node("Add", [answer, own], [total]),
        _number(share, 1 / (asked + 1)),
        helper.make_node("Mul", [total, share], [mean]),
    ]
    return nodes, mean


def used(student: int) -> str:
    """The value, bool (1,), that says whether any image goes to a student."""
    return f"is_used_{student}"


def which_are_used(students: int, choices: int) -> list[NodeProto]:
    """Makes `used` of every student at once: at batch 1 each node costs about as much as any other.

    `choices`: how many an image may have, 1 or 2.
    """
    return [
        _whole("number_axis", choices),
        helper.make_node("Constant", [], ["numbers"], value_ints=list(range(students))),
        helper.make_node("Unsqueeze", [SENT_TO, "number_axis"], ["sent_to_column"]),
        helper.make_node("Equal", ["sent_to_column", "numbers"], ["is_sent_to"]),
        helper.make_node("Cast", ["is_sent_to"], ["is_sent_to_as_number"], to=TensorProto.INT32),
        helper.make_node("Constant", [], ["choice_axes"], value_ints=list(range(choices))),
        helper.make_node("ReduceMax", ["is_sent_to_as_number", "choice_axes"], ["is_used_as_number"], keepdims=0),
        helper.make_node("Cast", ["is_used_as_number"], ["is_used"], to=TensorProto.BOOL),
        helper.make_node("Split", ["is_used"], [used(student) for student in range(students)], num_outputs=students),
    ]


def no_answers(students: int, classes: int, output: str) -> list[NodeProto]:
    """Makes `output`, zeros: float (B, classes), or (2, B, classes) where there are second choices.

    They are looked up, not made to a shape: whoever asks for the batch's shape keeps OpenVINO from fusing the first
    convolution with what follows it.
    """
    zeros = helper.make_tensor("zeros", TensorProto.FLOAT, [students, classes], [0.0] * students * classes)
    return [
        helper.make_node("Constant", [], ["zeros"], value=zeros),
        helper.make_node("Gather", ["zeros", SENT_TO], [output], axis=0),
    ]


def merged_answers(answers: str) -> list[NodeProto]:
    """Logits from `answers`, float (2, B, classes): of one student, or the log of two students' mean probability."""
    return [
        helper.make_node("LogSoftmax", [answers], ["log_probabilities"], axis=2),
        helper.make_node("Add", ["log_probabilities", _LOG_SHARES], ["weighted"]),
        # Not ReduceLogSumExp, which a runtime may compute without taking the largest out first.
        helper.make_node("ReduceMax", ["weighted", _FIRST_AXIS], ["largest"], keepdims=0),
        helper.make_node("Sub", ["weighted", "largest"], ["relative"]),
        helper.make_node("Exp", ["relative"], ["relative_probabilities"]),
        helper.make_node("ReduceSum", ["relative_probabilities", _FIRST_AXIS], ["relative_sum"], keepdims=0),
        helper.make_node("Log", ["relative_sum"], ["relative_log"]),
        helper.make_node("Add", ["relative_log", "largest"], ["merged"]),
        helper.make_node("Gather", [answers, "first"], ["answers_of_first"], axis=0),
        helper.make_node("Unsqueeze", [_UNSURE, "second_axis"], ["unsure_rows"]),
        helper.make_node("Where", ["unsure_rows", "merged", "answers_of_first"], [LOGITS]),
    ]


def _whole(name: str, value: int) -> NodeProto:
    return helper.make_node("Constant", [], [name], value_ints=[value])


def _number(name: str, value: float) -> NodeProto:
    return helper.make_node("Constant", [], [name], value=helper.make_tensor(name, TensorProto.FLOAT, [], [value]))
