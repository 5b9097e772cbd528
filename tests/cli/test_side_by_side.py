from __future__ import annotations

import threading

import pytest

from ccar.cli.side_by_side import load_and_check
from ccar.errors import DataError, UserError
from tests.waiting import SECONDS


def refuse(message, hint=None):
    def check():
        raise UserError(message, hint=hint)

    return check


def test_what_was_loaded_comes_back_when_every_check_has_gone_through():
    assert load_and_check(lambda: "study", lambda: None) == "study"


def test_checks_wait_for_their_answers_at_the_same_time():
    all_there = threading.Barrier(3)
    checks = [lambda: all_there.wait(timeout=SECONDS)] * 3
    load_and_check(*checks)


def test_all_that_is_wrong_is_told_at_once_each_with_its_hint():
    with pytest.raises(UserError) as caught:
        load_and_check(refuse("a bad file"), refuse("a bad store", "another one"), lambda: None, refuse("no server"))
    assert str(caught.value) == "a bad file\na bad store\n  hint: another one\nno server"
    assert caught.value.hint is None


def test_a_single_mistake_is_told_as_it_is():
    def load():
        raise DataError("no images", hint="get some")

    with pytest.raises(DataError) as caught:
        load_and_check(load, lambda: None)
    assert (str(caught.value), caught.value.hint) == ("no images", "get some")


def test_what_is_no_mistake_of_the_user_is_not_taken_for_one():
    with pytest.raises(ZeroDivisionError):
        load_and_check(lambda: 1 // 0, lambda: None)
