"""What the tests of the model borrow from the rooms that train and serve it."""

from tests.serving.conftest import bundle
from tests.training.conftest import survey_file, trained

__all__ = ["bundle", "survey_file", "trained"]
