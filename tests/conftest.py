"""What holds for every folder of tests."""

import signal

import pytest

# Before any folder's conftest imports them: their assertions explain themselves like a test's own.
pytest.register_assert_rewrite("tests.asterisk.centre", "tests.asterisk.recording")

# Who runs the tests in the background may have Ctrl-C ignored, and children would inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)
