"""What holds for every folder of tests."""

import pytest

# Before any folder's conftest imports them: their assertions explain themselves like a test's own.
pytest.register_assert_rewrite("tests.asterisk.centre", "tests.asterisk.recording")
