"""The training loop: steps in workers, sums of gradients over the ranks, and updates between batches."""

from __future__ import annotations

import contextlib
import math
import signal
import statistics
import time
from collections.abc import Generator, Mapping
from functools import partial
from itertools import islice
from pathlib import Path
from types import TracebackType

import msgspec

from ..bounds import FP16_LARGEST, check_memory
from ..cluster.communicator import Alone, CommunicationError, Communicator, broadcast
from ..device import DEFAULT_COMPILE_TIMEOUT
from ..files import one_line
from .accounting import StepTimes
from .config import TrainingConfig
from .data import Data
from .evaluation import Evaluation
from .events import BatchDone, Evaluated, Event, StepDone
from .exchange import Exchange
from .keeper import Keeper
from .kernels import Floats
from .lora import model_weights
from .meeting import StatesDiffer, Word, checksum, losses_of, meet, stop_of
from .models import Parameters, checked_parameters
from .optimizer import update
from .state import SAVED_PARTS, RunState, SharedState, part_shapes
from .worker import RunStep, Setup
from .workers import Workers

_CHECKED_UPDATES = 100  # between two checks that all ranks have the same state


class Trainer:
    """Trains `config` on `data` from `parameters`, with an `evaluation` between batches; `run` yields events.

    Copies the parameters, and asks for each once: they may be read or made then, one at a time.
    The parent owns the state and updates the weights. A step changes only the set of gradients that it
    writes. So if its worker is lost, another worker repeats it with the same result. With several ranks,
    each has a state with the same bits, and does its share of every batch and of every validation. The
    `keeper`, if there is one, makes the updates.
    """

    def __init__(
        self,
        config: TrainingConfig,
        parameters: Mapping[str, Floats],
        data: Data,
        *,
        device: str | None = None,
        state_folder: Path | None = None,
        compile_timeout: float = DEFAULT_COMPILE_TIMEOUT,
        evaluation: Evaluation | None = None,
        communicator: Communicator | None = None,
    ) -> None:
        seq = config.model.seq
        scores = 2 * 2 * config.model.heads * seq * seq  # fp16, and their gradients
        check_memory(f"a step with sequences of {seq} tokens", scores, "choose shorter ones (--seq)")
        self.config = config
        self.state = RunState(config.loss_scale)
        self._data, self._evaluation = data, evaluation
        separate = "classifier" in parameters
        self._shared = SharedState.create(part_shapes(config, separate), seq, state_folder)
        try:
            self._fill(parameters)
        except BaseException:
            self._shared.close()
            raise
        self.setup = Setup(config, separate, device, self._shared.descriptor)
        self.keeper: Keeper | None = None
        self._ranks = Alone() if communicator is None else communicator
        self._exchange = Exchange(self._ranks, self._shared)
        self._workers = Workers(self.setup, compile_timeout)
        self.stopped_by = 0  # the signal that ends the run: on this rank or, once they have met, on all
        self._checked = 0  # the step after which the ranks compared their states

    def __enter__(self) -> Trainer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the workers and release the state."""
        self.end_workers()
        self._shared.close()

    def end_workers(self) -> None:
        """End the workers; a further `run` starts others."""
        self._workers.end()

    @property
    def parts(self) -> dict[str, Parameters]:
        """Return the state: arrays by part and name, which change during training. See `part_shapes`."""
        return self._shared.parts

    @property
    def weights(self) -> Mapping[str, Floats]:
        """Return the model's parameters, with adapters merged."""
        return model_weights(self.config.lora, self.parts)

    def take_over(self) -> None:
        """Replace this rank's state by that of rank 0; all ranks call this."""
        for part in SAVED_PARTS:
            broadcast(self._ranks, self._shared.flat[part])
        told = self._ranks.gather(msgspec.msgpack.encode(self.state))[0]
        self.state = msgspec.msgpack.decode(told, type=RunState)

    def checksum(self) -> int:
        """Return a checksum of parameters and moments."""
        return checksum(self._shared.flat[part] for part in SAVED_PARTS)

    def run(self) -> Generator[Event, None, None]:
        """Train from the current state to the end. Raises TrainingError and CommunicationError.

        An exception that is thrown into this generator ends the run on all ranks.
        """
        done: BatchDone | Evaluated | None
        while not self._are_to_stop():
            if (evaluation := self.owed_evaluation) is not None:
                done = yield from self._validation(evaluation)
            elif self.state.step < self.config.steps:
                done = yield from self._batch()
            else:
                return
            if done is not None:
                try:
                    yield done
                except Exception as error:
                    self._meet(Word(), error)

    @property
    def owed_evaluation(self) -> Evaluation | None:
        """Return the validation if its loss is due before the next batch, or at the end."""
        evaluation, state = self._evaluation, self.state
        if evaluation is None or not evaluation.is_owed(state.step, state.evaluated, self.config):
            return None
        return evaluation

    @property
    def is_done(self) -> bool:
        """Tell if no step and no validation is left."""
        return self.state.step >= self.config.steps and self.owed_evaluation is None

    def abandon(self) -> None:
        """Kill the workers, since the ranks cannot continue together; any thread may call this."""
        self._workers.stop()

    def stop(self, number: int = signal.SIGINT) -> None:
        """Let `run` end with the last finished update; a signal handler may call it. Later steps are lost.

        All ranks end with the same update.
        """
        self.stopped_by = number
        self._workers.stop()

    def _fill(self, parameters: Mapping[str, Floats]) -> None:
        lora, parts = self.config.lora, self._shared.parts
        weights = parts["parameters" if lora is None else "frozen"]
        for name, value in checked_parameters(self.config.model, parameters, FP16_LARGEST):
            weights[name][:] = value
        if lora is not None:
            for name, value in lora.initial(self.config.model, self.config.seed).items():
                parts["parameters"][name][:] = value

    def _batch(self) -> Generator[Event, None, BatchDone | None]:
        first = self.state.step
        size = min(self.config.accumulation, self.config.steps - first)
        mine = range(first + self._ranks.rank, first + size, self._ranks.size)
        self._exchange.begin(_last_set(mine))
        if not mine:
            self._shared.flat["gradients_0"][:] = 0
        steps: list[StepDone] = []
        failure = None
        try:
            yield from self._steps(mine, steps)
        except CommunicationError:
            raise
        except Exception as error:
            failure = error
        # Also if this rank has no gradients to add: the others wait for the sums.
        self._exchange.finish()
        word = Word(
            losses=[step.loss for step in steps], work_ns=self._exchange.work_ns, stop=self.stopped_by
        )
        words = self._meet(word, failure)
        if sum(len(word.losses) for word in words) == size:  # otherwise a rank was stopped
            return self._update(steps, words)
        return None

    def _steps(self, mine: range, steps: list[StepDone]) -> Generator[Event, None, None]:
        for number in mine:
            step = yield from self._workers.attempts(number, partial(self._step, number, mine))
            if step is None:
                return
            steps.append(step)
            yield step

    def _step(self, number: int, mine: range) -> StepDone:
        """Add a step's gradient to the batch's sum, which alternates between two sets.

        With the last step of this rank, the sums over the ranks begin.
        """
        begin, index = time.monotonic_ns(), mine.index(number)
        self._exchange.begin_step()
        self._shared.tokens[:] = self._data.sequence(number)
        report = self._workers.step(
            RunStep(
                gradients=index % 2,
                base=None if index == 0 else (index - 1) % 2,
                loss_scale=self.state.loss_scale,
                without=self._exchange.exchanged,
            ),
            self._exchange.advance if self._ranks.size > 1 and number == mine[-1] else None,
        )
        return StepDone(
            step=number,
            loss=math.nan if report.loss is None else report.loss,
            times=StepTimes.of(
                report.end - report.begin, report.spans, report.products, self.config.pipeline
            ),
            report=report,
            begin=begin,
            end=time.monotonic_ns(),
        )

    def _update(self, steps: list[StepDone], words: list[Word]) -> BatchDone:
        batch, loss_scale = self.state.step // self.config.accumulation, self.state.loss_scale
        compilations, losses = self._workers.take_compilations(), losses_of(words)
        gradients = self.parts[f"gradients_{self._exchange.gradients}"]
        begin = time.monotonic_ns()
        if self.keeper is None:
            done = update(self.config, self.state, self.parts, gradients, len(losses))
        else:
            loss = sum(losses) / len(losses)
            done = self.keeper.update(self.state, self._exchange.gradients, len(losses), loss)
        self._workers.outdate()
        return BatchDone(
            batch=batch,
            steps=steps,
            kernels=sum(event.kernels for event in compilations),
            compile_ms=sum(event.compile_ms for event in compilations),
            staging_ms=sum(event.staging_ms for event in compilations),
            update=done,
            loss_scale=loss_scale,
            begin=begin,
            end=time.monotonic_ns(),
            communication=self._exchange.communication(losses, [word.work_ns for word in words], begin),
        )

    def _validation(self, evaluation: Evaluation) -> Generator[Event, None, Evaluated | None]:
        begin = time.monotonic_ns()
        losses, failure = None, None
        try:
            act = partial(self._evaluate, evaluation)
            begin, losses = (yield from self._workers.attempts(self.state.step, act)) or (begin, None)
        except CommunicationError:
            raise
        except Exception as error:
            failure = error
        words = self._meet(Word(losses=losses or [], stop=self.stopped_by), failure)
        if sum(len(word.losses) for word in words) == len(evaluation):
            return self._evaluated(begin, losses_of(words))
        return None

    def _evaluate(self, evaluation: Evaluation) -> tuple[int, list[float]]:
        """Return when it began, and the losses of this rank's sequences of validation."""
        begin, losses = time.monotonic_ns(), []
        for tokens in islice(evaluation, self._ranks.rank, None, self._ranks.size):
            self._shared.tokens[:] = tokens
            loss = self._workers.evaluate()
            losses.append(math.nan if loss is None else loss)
        return begin, losses

    def _evaluated(self, begin: int, losses: list[float]) -> Evaluated:
        loss, state = statistics.fmean(losses), self.state
        state.evaluated = state.step
        if loss < state.best_loss:
            state.best_loss, state.best_step = loss, state.step
        last = state.step >= self.config.steps
        return Evaluated(
            step=state.step,
            loss=loss,
            sequences=len(losses),
            best_loss=state.best_loss,
            best_step=state.best_step,
            compile_ms=self._workers.waiting_ms if last else 0.0,
            begin=begin,
            end=time.monotonic_ns(),
        )

    def _are_to_stop(self) -> bool:
        """Tell whether the run is to end, as any rank may be asked to. All ranks are at the same step."""
        words = self._meet(Word(stop=self.stopped_by, checksum=self._due_checksum()))
        if not (stop := stop_of(words)):
            return False
        self.stopped_by = stop
        self._compare()
        return True

    def _meet(self, word: Word, failure: Exception | None = None) -> list[Word]:
        """Exchange words with the other ranks. After a failure, compare the states, to be saved."""
        try:
            words = meet(self._ranks, word, failure)
        except (CommunicationError, StatesDiffer):
            raise
        except Exception as error:  # on all ranks
            with contextlib.suppress(CommunicationError):
                try:
                    self._compare()
                except StatesDiffer as differ:
                    raise StatesDiffer(f"{one_line(error)}; {differ}") from error
            raise
        if word.checksum is not None:
            self._checked = self.state.step
        return words

    def _compare(self) -> None:
        """Compare the states of all ranks, unless they have since the last update."""
        if self._ranks.size > 1 and self.state.step != self._checked:
            meet(self._ranks, Word(checksum=self.checksum()))
            self._checked = self.state.step

    def _due_checksum(self) -> int | None:
        """Return a checksum of the state if the ranks are to compare theirs: at times, and at the end."""
        step = self.state.step
        due = self.is_done or step - self._checked >= _CHECKED_UPDATES * self.config.accumulation
        if self._ranks.size == 1 or step == self._checked or not due:
            return None
        return self.checksum()


def _last_set(steps: range) -> int:
    """Return the number of the set of gradients that the last of these steps writes."""
    return max(0, len(steps) - 1) % 2
