"""A test that changes logging for those after it fails."""

import logging

import pytest

from tests.conftest import logging_state

log = logging.getLogger("raftkv.left_alone")


@pytest.mark.parametrize("change", ["disabled", "propagate", "level", "handlers", "disable"])
def test_each_change_is_seen(change: str) -> None:
    before = logging_state()
    try:
        if change == "disable":
            logging.disable(logging.ERROR)
        elif change == "handlers":
            log.addHandler(logging.NullHandler())
        else:
            setattr(log, change, {"disabled": True, "propagate": False, "level": 10}[change])
        assert logging_state() != before
    finally:
        logging.disable(logging.NOTSET)
        log.handlers.clear()
        log.disabled, log.propagate, log.level = False, True, logging.NOTSET
    assert logging_state() == before
