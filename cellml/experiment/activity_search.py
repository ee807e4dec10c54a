"""Searches settings of activity models with Optuna; goes on where it was stopped.

Trials depend on the seed and on the finished trials before them, not on the process they run in,
so a search that was killed ends with the same trials as one that was not.
"""

import contextlib
import fcntl
import functools
import json
import math
import os
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

import numpy as np
import optuna
from ml_collections import ConfigDict
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import FrozenTrial, Trial, TrialState

from cellml.errors import UsageError, UserError
from cellml.experiment.activity import train_activity
from cellml.experiment.activity_inputs import MAY_DIFFER, changed_data
from cellml.experiment.activity_scores import BEST
from cellml.experiment.activity_space import Range, changed
from cellml.train.loop import NonFiniteError

JOURNAL, LOCK, TRIALS = "journal.log", "journal.lock", "trials"
KEPT = ("config.json", "metrics.jsonl", "scores.json")
FINISHED = (TrialState.COMPLETE, TrialState.PRUNED)
FULL_TRIALS = 5  # before the first trial may be pruned


class TrialResult(NamedTuple):
    """A finished trial.

    Attributes:
      number: From 0, among the finished ones.
      state: "complete"; "pruned", worse than the median on the way; "diverged", not finite.
      values: What was chosen.
      score: On the part that the training does not see; NaN unless complete.
      validation: Best score of the epochs, NaN if there is none.
      evaluations: Number of these.
    """

    number: int
    state: str
    values: dict[str, int | float]
    score: float
    validation: float
    evaluations: int


class Search:
    """A search in a folder, which one process at a time may continue."""

    def __init__(
        self,
        config: ConfigDict,
        folder: Path,
        *,
        space: Mapping[str, Range],
        data: Mapping[str, str],
        seed: int = 0,
    ) -> None:
        """Opens the folder, or makes it.

        Args:
          config: Of the trials, with a split in three parts: `train.best` on the validation part
            chooses the epoch, the same score on the test part rates the trial.
          folder: For the journal and the trials' own folders.
          space: Ranges by choice.
          data: What the trials learn from and are rated by, from
            `cellml.experiment.activity_inputs.digests_of`.
          seed: Of the choices.

        Raises:
          UsageError: The folder holds a search with other settings or data.
          UserError: It cannot be written or read.
        """
        self.config, self.folder, self.space, self.seed = config, folder, dict(space), seed
        self.by = "loss" if config.train.best == "last" else config.train.best
        if self.by not in BEST:
            raise UsageError(f"train.best: unknown {self.by!r}; known: {', '.join(BEST)}, last")
        self.larger_is_better = BEST[self.by] == "max"
        plain = config.to_dict()
        for entry in MAY_DIFFER:  # change no trial
            *parents, last = entry.split(".")
            functools.reduce(dict.__getitem__, parents, plain).pop(last)
        settings = {"config": plain, "space": self.space, "seed": seed, "data": dict(data)}
        self._settings = json.dumps(settings, sort_keys=True, default=str)
        with self._alone():
            self._study = self._open()

    @property
    def results(self) -> list[TrialResult]:
        """The finished trials in order."""
        return [self._result(i, trial) for i, trial in enumerate(self._finished())]

    @property
    def interrupted(self) -> int:
        """Number of trials that were begun and not finished, and repeated since."""
        return sum(t.state == TrialState.FAIL for t in self._study.get_trials(deepcopy=False))

    @property
    def best(self) -> TrialResult:
        """The complete trial with the best score, of equals the first.

        Raises:
          UserError: None is complete.
        """
        complete = [result for result in self.results if result.state == "complete"]
        if not complete:
            raise UserError(f"{self.folder}: no trial is complete; raise --trials or --timeout")
        sign = 1 if self.larger_is_better else -1
        return max(complete, key=lambda result: sign * result.score)

    def run(
        self,
        trials: int,
        *,
        seconds: float | None = None,
        finished: Callable[[TrialResult, float], None] | None = None,
    ) -> None:
        """Goes on until there are as many finished trials, or no time is left to begin another.

        Args:
          trials: Finished ones in all, those of earlier calls included.
          seconds: Of this call; None for as long as it takes.
          finished: Called after each trial with its result and duration in seconds.

        Raises:
          TrainingInterrupted: SIGINT or SIGTERM came; the trial is marked and will be repeated.
          UsageError: The data do not suit the score, or another process works in the folder.
        """
        began = time.monotonic()
        with self._alone():
            self._mark_interrupted()
            while (number := len(self._finished())) < trials:
                if seconds is not None and time.monotonic() - began >= seconds:
                    return
                trial_began = time.monotonic()
                self._study.sampler = _sampler(self.seed, number)
                self._try(self._study.ask(), number)
                if finished is not None:
                    finished(self.results[-1], time.monotonic() - trial_began)

    def _try(self, trial: Trial, number: int) -> None:
        folder = self.folder / TRIALS / f"{number:03d}"
        shutil.rmtree(folder, ignore_errors=True)  # of an interrupted one
        try:
            config = changed(self.config, {k: _suggest(trial, k, v) for k, v in self.space.items()})
            score = self._train(trial, config, folder)
        except optuna.TrialPruned:
            self._study.tell(trial, state=TrialState.PRUNED)
        except NonFiniteError as error:
            trial.set_user_attr("diverged", str(error))
            self._study.tell(trial, state=TrialState.PRUNED)
        except BaseException as error:
            trial.set_user_attr("interrupted", f"{type(error).__name__}: {error}")
            self._study.tell(trial, state=TrialState.FAIL)
            raise
        else:
            self._study.tell(trial, score)
        for path in folder.iterdir() if folder.is_dir() else ():
            if path.name not in KEPT:
                shutil.rmtree(path) if path.is_dir() else path.unlink()

    def _train(self, trial: Trial, config: ConfigDict, folder: Path) -> float:
        evaluations = 0

        def watch(found: Mapping[str, float]) -> None:
            nonlocal evaluations
            evaluations += 1
            if math.isfinite(found.get(self.by, math.nan)):
                trial.report(found[self.by], evaluations)
                if trial.should_prune():
                    raise optuna.TrialPruned

        train_activity(config, folder, watch=watch)
        scores = json.loads((folder / "scores.json").read_text(encoding="utf-8"))
        score = scores.get("test", {}).get("mean", {}).get(self.by)
        if score is None:
            raise UsageError(
                f"{self.by} is undefined on the compounds that rate a trial; choose another "
                "--seed or --inner-split, or --set train.best=loss"
            )
        return float(score)

    def _open(self) -> optuna.Study:
        journal = self.folder / JOURNAL
        _cut_unfinished_line(journal)
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        epochs = self.config.train.epochs
        every = max(1, self.config.train.eval_every_epochs)
        try:
            study = optuna.create_study(
                storage=JournalStorage(JournalFileBackend(str(journal))),
                study_name="activity",
                direction="maximize" if self.larger_is_better else "minimize",
                load_if_exists=True,
                # The first epochs, while the learning rate rises, say little.
                pruner=optuna.pruners.MedianPruner(
                    FULL_TRIALS, n_warmup_steps=epochs // 4 // every
                ),
            )
        except (ValueError, KeyError) as error:
            raise UserError(f"{journal}: no journal of a search ({error})") from error
        before = study.user_attrs.get("settings")
        if before is None:
            study.set_user_attr("settings", self._settings)
        elif before != self._settings:
            self._refuse(json.loads(before), json.loads(self._settings))
        return study

    def _refuse(self, before: dict[str, Any], now: dict[str, Any]) -> NoReturn:
        data = before.pop("data", {}), now.pop("data")
        if different := _differences(before, now):
            raise UsageError(
                f"{self.folder} holds a search with other settings ({', '.join(different)}); use "
                "them again or another --out"
            )
        raise UsageError(
            f"{self.folder} holds a search on other data: other {' and '.join(changed_data(*data))}"
            "; use another --out, or delete that folder to search anew"
        )

    def _mark_interrupted(self) -> None:
        for trial in self._study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
            self._study.tell(trial.number, state=TrialState.FAIL)

    def _finished(self) -> list[FrozenTrial]:
        return self._study.get_trials(deepcopy=False, states=FINISHED)

    def _result(self, number: int, trial: FrozenTrial) -> TrialResult:
        complete = trial.state == TrialState.COMPLETE
        state = "diverged" if "diverged" in trial.user_attrs else trial.state.name.lower()
        seen = list(trial.intermediate_values.values())
        best = max if self.larger_is_better else min
        return TrialResult(
            number,
            state,
            {name: _rounded(value) for name, value in trial.params.items()},
            float(trial.value) if complete and trial.value is not None else math.nan,
            float(best(seen)) if seen else math.nan,
            len(seen),
        )

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        """Keeps other processes out: they would take running trials for interrupted ones."""
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            file = os.open(self.folder / LOCK, os.O_CREAT | os.O_RDWR)
        except OSError as error:
            raise UserError(f"{self.folder}: cannot be written ({error.strerror})") from error
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            yield
        except BlockingIOError as error:
            raise UsageError(f"{self.folder}: another process searches here") from error
        finally:
            os.close(file)


def _suggest(trial: Trial, name: str, values: Range) -> int | float:
    low, high, step = values
    if isinstance(low, int):
        return trial.suggest_int(name, low, int(high), step=int(step))
    return _rounded(trial.suggest_float(name, low, high, step=step))


def _rounded(value: Any) -> int | float:
    """0.15 rather than 0.15000000000000002."""
    return value if isinstance(value, int) else round(float(value), 9)


def _sampler(seed: int, number: int) -> optuna.samplers.TPESampler:
    """A sampler of its own for each trial, so that nothing depends on what ran before in memory."""
    own = int(np.random.SeedSequence([seed, number]).generate_state(1)[0])
    return optuna.samplers.TPESampler(seed=own, constant_liar=False)


def _cut_unfinished_line(journal: Path) -> None:
    """Takes away what a killed process had not finished writing."""
    if journal.is_file():
        whole = journal.read_bytes()
        end = whole.rfind(b"\n") + 1
        if end < len(whole):
            with journal.open("r+b") as file:
                file.truncate(end)


def _differences(before: Any, now: Any, name: str = "") -> list[str]:
    if isinstance(before, dict) and isinstance(now, dict):
        keys = sorted(before.keys() | now.keys())
        return [
            text
            for key in keys
            for text in _differences(before.get(key), now.get(key), f"{name}.{key}".strip("."))
        ]
    return [] if before == now else [f"{name}: {before} then, {now} now"]
