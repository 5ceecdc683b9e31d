"""What cannot be undone is confirmed by whoever asked, in time, once."""

from __future__ import annotations

import pytest

from hotfill.errors import InputError
from hotfill.service.routes.upgrade import CONFIRM_SECONDS, Confirmation


@pytest.fixture
def now():
    return [0.0]


@pytest.fixture
def confirmation(now):
    return Confirmation(clock=lambda: now[0])


def refused(confirmation, token, by="anna"):
    with pytest.raises(InputError, match="nothing was changed"):
        confirmation.answer(token, by)


def test_the_right_token_confirms_once(confirmation):
    token = confirmation.ask("anna")
    confirmation.answer(token, "anna")
    refused(confirmation, token)


def test_nothing_confirms_before_it_was_asked(confirmation):
    refused(confirmation, "")


def test_a_wrong_token_closes_the_question(confirmation):
    token = confirmation.ask("anna")
    refused(confirmation, token + "x")
    refused(confirmation, token)


def test_only_whoever_asked_may_confirm(confirmation):
    refused(confirmation, confirmation.ask("anna"), by="bert")


def test_it_must_be_in_time(confirmation, now):
    token = confirmation.ask("anna")
    now[0] = CONFIRM_SECONDS
    refused(confirmation, token)


def test_a_new_question_replaces_the_one_before(confirmation):
    first, second = confirmation.ask("anna"), confirmation.ask("anna")
    assert first != second
    confirmation.answer(second, "anna")
