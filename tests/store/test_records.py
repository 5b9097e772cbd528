from __future__ import annotations

import traceback

import pytest

from ccar.store.records import reason_of, without_unneeded_classes


def traceback_of(code):
    """As a worker notes it."""
    try:
        code()
    except Exception:
        return traceback.format_exc()
    raise AssertionError("it raises nothing")


def divide():
    return 1 / 0


def several_lines():
    raise RuntimeError("CUDA error: an illegal memory access\nFor debugging set a variable.\n\n  Compile with symbols.")


def while_handling():
    try:
        divide()
    except ZeroDivisionError as error:
        raise OSError("the disk is gone") from error


def in_another_process():
    raise RuntimeError(f"Caught an error in a worker process.\nOriginal {traceback_of(divide)}")


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        (divide, "ZeroDivisionError: division by zero"),
        (several_lines, "RuntimeError: CUDA error: an illegal memory access"),
        (while_handling, "OSError: the disk is gone"),
        (in_another_process, "ZeroDivisionError: division by zero"),
        (lambda: compile("a b", "file.py", "exec"), "SyntaxError: invalid syntax"),
    ],
)
def test_the_reason_of_a_real_traceback_is_its_exception(code, reason):
    assert reason_of(traceback_of(code)) == reason


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        ("epoch 1: the training loss is nan\nat learning rate 0.1", "epoch 1: the training loss is nan"),
        ("\n  it hung and was ended  \n", "it hung and was ended"),
        ("  \n", ""),
        (None, ""),
    ],
)
def test_the_reason_of_other_words_is_their_first_line(error, reason):
    assert reason_of(error) == reason


def test_of_equally_good_epochs_the_earliest_keeps_its_classes_and_so_does_the_last_epoch():
    accuracies = [0.1, 0.5, 0.5, 0.3, 0.2]
    epochs = [
        {"epoch": number, "validation": {"balanced_accuracy": accuracy, "per_class": (accuracy,), "reliability": 1}}
        for number, accuracy in enumerate(accuracies, start=1)
    ]
    kept = [epoch["epoch"] for epoch in without_unneeded_classes(epochs) if epoch["validation"]["per_class"]]
    assert kept == [2, 5]
