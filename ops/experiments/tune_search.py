"""Draws the settings that a search tries next, by Optuna, and keeps the results in a study.

The sampler is a tree of Parzen estimators (Bergstra et al., 2011) with a seed. Resuming a study on
other data, with other settings or beside another running search is refused. Which settings are
drawn depends on the results so far: with several processes, on the order in which they end.
"""

import fcntl
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import optuna
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.storages import BaseStorage, InMemoryStorage, JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import TrialState

from ops.errors import UsageError
from trainer.training.fitting.hyperparameters import Hyperparameters
from trainer.training.tuning.plan import TuningResult

_NAME = "rssi"
_QUESTION = "question"
_RESULT = "result"
_LEAST_DECAY = 1e-5
_STARTUP_TRIALS = 10
"""Drawn at random before the first estimate; Optuna's own default."""
_TRIALS_BEFORE_PRUNING = 5
_FOLDS_BEFORE_PRUNING = 2
"""One or two folds say little: visits differ more than settings do."""


@dataclass(frozen=True, slots=True)
class SearchSpace:
    """The ranges that are searched; always contains the settings that the search begins with."""

    start: Hyperparameters

    def distributions(self) -> dict[str, BaseDistribution]:
        """The range of each setting, as Optuna's distributions."""
        start = self.start

        def between(low: float, high: float, value: float, *, log: bool) -> FloatDistribution:
            return FloatDistribution(min(low, value), max(high, value), log=log)

        return {
            "learning_rate": between(1e-3, 1e-2, start.learning_rate, log=True),
            "weight_decay": between(
                _LEAST_DECAY, 1e-3, start.weight_decay or _LEAST_DECAY, log=True
            ),
            "target_sigma_m": between(1.0, 2.6, start.target_sigma_m, log=False),
            "visit_damping": FloatDistribution(0.0, 1.0),
            "epochs": IntDistribution(min(10, start.epochs), max(40, start.epochs)),
            "batch_size": CategoricalDistribution(sorted({64, 128, 256, start.batch_size})),
            "hidden": CategoricalDistribution(
                sorted({"128", "256", "384", "512", _widths(start.hidden)})
            ),
        }

    def parameters(self) -> dict[str, Any]:
        """The settings that the search begins with, as a trial's parameters."""
        found: dict[str, Any] = {}
        for name in self.distributions():
            value = getattr(self.start, name)
            found[name] = _widths(value) if name == "hidden" else value
        # Zero is not on a logarithmic range.
        found["weight_decay"] = found["weight_decay"] or _LEAST_DECAY
        return found

    def settings(self, drawn: Mapping[str, Any]) -> Hyperparameters:
        """The settings of a trial's parameters, rounded to three significant digits."""
        if dict(drawn) == self.parameters():
            return self.start
        rounded = {
            name: float(f"{value:.3g}") if isinstance(value, float) else value
            for name, value in drawn.items()
        }
        hidden = tuple(int(width) for width in str(drawn["hidden"]).split("x"))
        return self.start.model_copy(update={**rounded, "hidden": hidden})


def _widths(hidden: tuple[int, ...]) -> str:
    return "x".join(map(str, hidden))


@dataclass(frozen=True, slots=True)
class PendingTrial:
    """A trial without a result yet: its number, and the settings to measure."""

    number: int
    settings: Hyperparameters
    trial: optuna.Trial


class Study:
    """Trials and their results."""

    def __init__(self, start: Hyperparameters, study: optuna.Study) -> None:
        """Wrap an Optuna study; one without trials begins with ``start``."""
        self._space = SearchSpace(start)
        self._study = study
        self._distributions = self._space.distributions()
        if not study.get_trials(deepcopy=False):
            study.enqueue_trial(self._space.parameters())

    def ask(self) -> PendingTrial:
        """Draw the next trial; the first has the settings that the search begins with."""
        trial = self._study.ask(fixed_distributions=self._distributions)
        return PendingTrial(trial.number, self._space.settings(trial.params), trial)

    def should_prune(self, pending: PendingTrial, fold: int, loss_so_far: float) -> bool:
        """Record a trial's loss up to a fold; True if the median of the others was better."""
        pending.trial.report(loss_so_far, fold)
        return pending.trial.should_prune()

    def tell(self, pending: PendingTrial, result: TuningResult) -> None:
        """End a trial with its result."""
        pending.trial.set_user_attr(_RESULT, result.model_dump_json())
        self._study.tell(pending.trial, result.loss)

    def prune(self, pending: PendingTrial) -> None:
        """End a trial without measuring its other folds."""
        self._study.tell(pending.trial, state=TrialState.PRUNED)

    @property
    def results(self) -> tuple[TuningResult, ...]:
        """Results on all folds, in the order in which trials were drawn."""
        return tuple(
            TuningResult.model_validate_json(trial.user_attrs[_RESULT])
            for trial in self._study.get_trials(deepcopy=False)
            if _RESULT in trial.user_attrs
        )

    @property
    def ended(self) -> int:
        """How many trials have ended, pruned ones included."""
        ends = (TrialState.COMPLETE, TrialState.PRUNED)
        return len(self._study.get_trials(deepcopy=False, states=ends))


@contextmanager
def open_study(
    start: Hyperparameters, question: str, seed: int, file: Path | None
) -> Iterator[Study]:
    """Begin a study, or resume the one in a file.

    Args:
        start: the settings that the search begins with.
        question: names the data and everything else that the losses depend on.
        seed: of the sampler.
        file: Optuna's journal, created if missing. None keeps the study in memory.

    Raises:
        UsageError: the file belongs to another search, is no study, or is in use.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    with _locked(file):
        study = optuna.create_study(storage=_storage(file), study_name=_NAME, load_if_exists=True)
        _check_question(study, question, file)
        # Other random numbers than those of the trials before the resumption.
        study.sampler = optuna.samplers.TPESampler(
            seed=seed + len(study.get_trials(deepcopy=False)), n_startup_trials=_STARTUP_TRIALS
        )
        study.pruner = optuna.pruners.MedianPruner(_TRIALS_BEFORE_PRUNING, _FOLDS_BEFORE_PRUNING)
        _requeue_interrupted(study)
        yield Study(start, study)


def _storage(file: Path | None) -> BaseStorage:
    if file is None:
        return InMemoryStorage()
    content = file.read_bytes()
    *whole, cut_off = content.split(b"\n")
    if content and not _is_journal(whole):
        raise UsageError(f"{file} is no study of rssi tune: name another file, or remove this one.")
    # A kill may have left half a line, to which Optuna would append.
    os.truncate(file, len(content) - len(cut_off))
    # Optuna would wait for a stale lock; no other process holds this file now.
    file.with_name(f"{file.name}.lock").unlink(missing_ok=True)
    return JournalStorage(JournalFileBackend(str(file)))


def _is_journal(lines: Sequence[bytes]) -> bool:
    """Whether Optuna wrote these lines; it would append to any file."""
    try:
        return bool(lines) and all("op_code" in json.loads(line) for line in lines)
    except (ValueError, TypeError):
        return False


def _check_question(study: optuna.Study, question: str, file: Path | None) -> None:
    stored = study.user_attrs.get(_QUESTION)
    if stored is None:
        study.set_user_attr(_QUESTION, question)
    elif stored != question:
        raise UsageError(
            f"{file} holds a search on other data, or one that began with other settings: name "
            "another file for this one."
        )


def _requeue_interrupted(study: optuna.Study) -> None:
    """Queue again what was being measured when an earlier search was interrupted."""
    for trial in study.get_trials(states=(TrialState.RUNNING,)):
        study.tell(trial.number, state=TrialState.FAIL)
        study.enqueue_trial(trial.params)


@contextmanager
def _locked(file: Path | None) -> Iterator[None]:
    """Lock a file for one search: two would each take the other's trials for abandoned."""
    if file is None:
        yield
        return
    with file.open("ab") as locked:
        try:
            fcntl.flock(locked, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise UsageError(
                f"Another search is using {file}: wait for it, or name another file."
            ) from error
        yield
