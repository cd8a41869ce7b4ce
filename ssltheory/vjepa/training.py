"""Training: predict the teacher's features of hidden tokens from those of visible ones.

    tokens of a clip --> student f_theta on the visible ones --> predictor g_psi --> features of the hidden ones
                                                                                        | mean |difference|
    tokens of a clip --> teacher f_xi on all of them --> normalised, hidden ones ------/

teacher = "ema"    xi = alpha xi + (1 - alpha) theta after every step, targets held
teacher = "sg"     xi = theta, targets held
teacher = "joint"  xi = theta, and the gradient flows through both branches: the loss E itself

On a frozen batch with frozen masks two losses are watched: E, with the student in the teacher's place, and F, with the
teacher in use. All that is random in step t comes from (seed, t): there is no state of a generator to restore, and a
run that stops after N steps and goes on is the run that did not stop.
"""

import json
import math
import sys
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol, get_args

import numpy as np
import torch
from torch import Tensor, nn

from ssltheory import _validate
from ssltheory.diagnostics import center_norm, effective_rank, feature_spread, spectrum
from ssltheory.records import write_whole
from ssltheory.vjepa.checkpoints import CheckpointError, read_checkpoint, write_checkpoint
from ssltheory.vjepa.masks import LONG_RANGE, SHORT_RANGE, draw_masks
from ssltheory.vjepa.model import Encoder, ModelConfig, Predictor, normalised, patches, take

__all__ = ["Source", "Student", "TrainConfig", "Trainer", "schedule"]

Teacher = Literal["ema", "sg", "joint"]
MASKS = (SHORT_RANGE, LONG_RANGE)
FROZEN_STEP = 2**31 - 1  # the batch that is watched comes from a step that no run reaches


class Source(Protocol):
    """What clips come from."""

    def batch(self, seed: int, step: int, count: int, first: int = 0) -> Any:
        """Clips ``first`` to ``first + count - 1`` of a step, in the attribute ``video``."""


@dataclass(frozen=True)
class TrainConfig:
    """How to train.

    Args:
        model: sizes of the networks.
        teacher: "ema", "sg" or "joint".
        steps, batch: gradient steps and clips in each, over all processes.
        rate, warmup: largest learning rate, reached linearly over that share of the steps, then lowered to
            ``last_rate`` by a cosine.
        last_rate: at the end.
        decay, last_decay: weight decay at the beginning and the end, along a cosine; none on biases, norms and the
            learned tokens.
        alpha, last_alpha: momentum of the EMA at the beginning and the end, along a line.
        seed: of weights, clips and masks.
        dtype: "float32" or "bfloat16" for products.
        compile: whether to compile the networks.
        log_every, watch_every, save_every: steps between lines of the log, frozen losses, and checkpoints.
        frozen: clips of the frozen batch.

    Raises:
        ValueError: a value outside what is said above.
    """

    model: ModelConfig = field(default_factory=ModelConfig)
    teacher: Teacher = "ema"
    steps: int = 2000
    batch: int = 32
    rate: float = 1e-3
    last_rate: float = 1e-5
    warmup: float = 0.1
    decay: float = 0.04
    last_decay: float = 0.4
    alpha: float = 0.998
    last_alpha: float = 1.0
    seed: int = 0
    dtype: Literal["float32", "bfloat16"] = "float32"
    compile: bool = False
    log_every: int = 10
    watch_every: int = 50
    save_every: int = 200
    frozen: int = 64

    def __post_init__(self) -> None:
        _validate.one_of("teacher", self.teacher, get_args(Teacher))
        _validate.one_of("dtype", self.dtype, ("float32", "bfloat16"))
        for name in ("steps", "batch", "log_every", "watch_every", "save_every"):
            _validate.count(name, getattr(self, name))
        _validate.count("frozen", self.frozen, least=2)
        _validate.count("seed", self.seed, least=0)
        for name in ("rate", "last_rate"):
            _validate.scalar(name, getattr(self, name), _validate.positive)
        for name in ("decay", "last_decay"):
            _validate.scalar(name, getattr(self, name), _validate.nonnegative)
        for name in ("warmup", "alpha", "last_alpha"):
            _validate.scalar(name, getattr(self, name), _validate.probability)

    def to_json(self) -> dict[str, Any]:
        """As plain numbers and words."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> "TrainConfig":
        """Read back what :meth:`to_json` gave. Raises ``ValueError`` for fields that there are not."""
        try:
            return cls(**{**data, "model": ModelConfig(**data["model"])})
        except (TypeError, KeyError) as problem:
            raise ValueError(f"not a configuration of this program: {problem}") from None


def schedule(config: TrainConfig, step: int) -> tuple[float, float, float]:
    """Learning rate, weight decay and momentum of a step, 0 the first."""
    warm = config.warmup * config.steps
    done = step / max(config.steps - 1, 1)
    if step < warm:
        rate = config.rate * (step + 1) / math.ceil(warm)
    else:
        share = (step - warm) / max(config.steps - 1 - warm, 1)
        rate = config.last_rate + (config.rate - config.last_rate) * (1 + math.cos(math.pi * min(share, 1.0))) / 2
    decay = config.last_decay + (config.decay - config.last_decay) * (1 + math.cos(math.pi * done)) / 2
    return rate, decay, config.alpha + (config.last_alpha - config.alpha) * done


class Student(nn.Module):
    """Encoder and predictor; its forward pass is the loss, so that one call is all that processes must share."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.encoder, self.predictor = Encoder(config), Predictor(config, masks=len(MASKS))

    def forward(self, tokens: Tensor, goal: Tensor | None, masks: list[tuple[Tensor, Tensor]]) -> Tensor:
        """Mean over the generators of masks of the mean absolute error; ``goal`` None lets the encoder make its own."""
        goal = normalised(self.encoder(tokens)) if goal is None else goal
        losses = [
            (self.predictor(self.encoder(tokens, context), context, target, k) - take(goal, target)).abs().mean()
            for k, (context, target) in enumerate(masks)
        ]
        return torch.stack(losses).mean()


class Trainer:
    """A run: networks, optimiser, and the files in its folder.

    ``metrics.jsonl`` has a line for every logged step, and first one with the configuration; ``last.ckpt`` is the last
    checkpoint. Every process of a group makes one; the first writes.

    Args:
        config: how to train.
        source: where clips come from.
        folder: where files go.
        device: where to train.
        rank, world: number of this process and of all; they share each batch.
    """

    def __init__(
        self,
        config: TrainConfig,
        source: Source,
        folder: str | Path,
        *,
        device: str | torch.device = "cpu",
        rank: int = 0,
        world: int = 1,
    ) -> None:
        if config.batch % world or config.frozen < 2:
            raise ValueError(f"batch: got {config.batch}, need a multiple of the {world} processes")
        self.config, self.source, self.folder = config, source, Path(folder)
        self.device, self.rank, self.world = torch.device(device), rank, world
        torch.manual_seed(config.seed)
        self.student = Student(config.model).to(self.device)
        self.teacher = Encoder(config.model).to(self.device).requires_grad_(False)
        self.teacher.load_state_dict(self.student.encoder.state_dict())
        self.optimizer = torch.optim.AdamW(_groups(self.student), lr=config.rate, fused=True)
        self.step = 0
        self._followed = [p.detach() for p in self.student.encoder.parameters()]
        self._followers = [p.detach() for p in self.teacher.parameters()]
        self._weights = [p.detach() for p in self.student.parameters()]
        run: nn.Module = self.student
        if world > 1:
            run = nn.parallel.DistributedDataParallel(
                run, device_ids=[self.device.index] if self.device.type == "cuda" else None
            )
        self._run = torch.compile(run) if config.compile else run
        self._teach = torch.compile(self.teacher) if config.compile else self.teacher
        frozen = self._tokens(FROZEN_STEP, 0, config.frozen)
        self._frozen = (frozen, self._masks(FROZEN_STEP, 0, config.frozen))

    def _tokens(self, step: int, first: int, count: int) -> Tensor:
        video = self.source.batch(self.config.seed, step, count, first).video.to(self.device, non_blocking=True)
        return patches(video, self.config.model.tubelet, self.config.model.patch)

    def _masks(self, step: int, first: int, count: int) -> list[tuple[Tensor, Tensor]]:
        whole = self.config.frozen if step == FROZEN_STEP else self.config.batch
        drawn = []
        for k, kind in enumerate(MASKS):
            rng = np.random.default_rng([self.config.seed, step, k])
            masks = draw_masks(kind, rng, whole, self.config.model.grid)
            rows = slice(first, first + count)
            drawn.append(tuple(torch.from_numpy(m[rows]).to(self.device) for m in (masks.context, masks.target)))
        return drawn  # type: ignore[return-value]

    def _autocast(self) -> torch.autocast:
        return torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=self.config.dtype == "bfloat16")

    def advance(self) -> dict[str, Tensor | float]:
        """Take one step. What it returns stays on the device, so that nothing waits."""
        config = self.config
        rate, decay, alpha = schedule(config, self.step)
        own = config.batch // self.world
        tokens, masks = self._tokens(self.step, self.rank * own, own), self._masks(self.step, self.rank * own, own)
        for group in self.optimizer.param_groups:
            group["lr"], group["weight_decay"] = rate, decay * group["decayed"]
        measured = self.step % config.log_every == 0
        before = [p.clone() for p in self._weights] if measured else None
        with self._autocast():
            goal = None
            if config.teacher != "joint":
                with torch.no_grad():
                    goal = normalised(self._teach(tokens))
            loss = self._run(tokens, goal, masks)
        loss.backward()
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        with torch.no_grad():
            if config.teacher == "ema":
                torch._foreach_lerp_(self._followers, self._followed, 1 - alpha)
            else:
                torch._foreach_copy_(self._followers, self._followed)
            values: dict[str, Tensor | float] = {"loss": loss.detach(), "rate": rate, "decay": decay, "alpha": alpha}
            if before is not None:
                moved = torch._foreach_sub(self._weights, before)
                cut = len(self._followed)
                for name, part in (("encoder", moved[:cut]), ("predictor", moved[cut:])):
                    values[f"increment_{name}"] = torch.stack(torch._foreach_norm(part)).norm()
        self.step += 1
        return values

    @torch.no_grad()
    def watch(self) -> dict[str, float]:
        """The two losses and the state of the features on the frozen batch."""
        tokens, masks = self._frozen
        with self._autocast():
            own = self.student.encoder(tokens)
            kept = self.teacher(tokens)
            E = self.student(tokens, normalised(own), masks)
            F = self.student(tokens, normalised(kept), masks)
        found = {"E": float(E), "F": float(F)}
        for name, features in (("student", own), ("teacher", kept)):
            z = features.float().flatten(0, 1).cpu().numpy()
            if np.isfinite(z).all():
                spread = z.std(axis=0).mean()
                found |= {
                    f"deviation_{name}": float(spread),
                    f"spread_{name}": float(feature_spread(z)),
                    f"rank_{name}": float(effective_rank(spectrum(z))),
                    f"center_{name}": float(center_norm(z)),
                }
        return found

    # --- files

    @property
    def checkpoint(self) -> Path:
        """The last checkpoint of the run."""
        return self.folder / "last.ckpt"

    @property
    def metrics(self) -> Path:
        """The log."""
        return self.folder / "metrics.jsonl"

    def save(self) -> None:
        """Write a checkpoint, from the first process."""
        if self.rank == 0:
            state = {
                "config": json.dumps(self.config.to_json(), sort_keys=True),
                "step": self.step,
                "student": self.student.state_dict(),
                "teacher": self.teacher.state_dict(),
                "optimizer": self.optimizer.state_dict(),
            }
            write_checkpoint(self.checkpoint, state)

    def load(self) -> None:
        """Go on from the last checkpoint of the folder.

        Raises :class:`CheckpointError` for one that cannot be read, or is of a run that was configured otherwise.
        """
        state = read_checkpoint(self.checkpoint, self.device)
        wanted = self.config.to_json()
        try:
            found = json.loads(state["config"])
            different = sorted(k for k in wanted | found if wanted.get(k) != found.get(k))
        except (KeyError, ValueError, TypeError):
            raise CheckpointError(f"{self.checkpoint} has no configuration") from None
        if different:
            pairs = ", ".join(f"{k} is {found.get(k)} there and {wanted.get(k)} here" for k in different)
            raise CheckpointError(f"{self.checkpoint} is of another run: {pairs}")
        try:
            self.student.load_state_dict(state["student"])
            self.teacher.load_state_dict(state["teacher"])
            self.optimizer.load_state_dict(state["optimizer"])
            self.step = int(state["step"])
        except (KeyError, ValueError, RuntimeError) as problem:
            raise CheckpointError(f"{self.checkpoint} does not fit these networks: {problem}") from None
        self._cut_log()

    def _cut_log(self) -> None:
        """Drop lines of the log that the checkpoint knows nothing of; they will be written again."""
        if self.rank or not self.metrics.is_file():
            return
        kept = []
        for line in self.metrics.read_text(encoding="utf-8").splitlines():
            try:
                entry = json.loads(line)
            except ValueError:  # a line cut short by a kill
                continue
            if entry.get("step", -1) < self.step or "config" in entry:
                kept.append(line + "\n")
        write_whole(self.metrics, [line.encode() for line in kept])

    def run(self, until: int | None = None, *, quiet: bool = False) -> str:
        """Train to step ``until`` (by default to the end), and say in words why it stopped.

        Raises :class:`FloatingPointError` when the loss is no longer finite; the last checkpoint is of a good state.
        """
        config = self.config
        until = config.steps if until is None else min(_validate.count("until", until), config.steps)
        log = None
        if self.rank == 0:
            self.folder.mkdir(parents=True, exist_ok=True)
            fresh = not self.metrics.is_file()
            log = self.metrics.open("a", encoding="utf-8")
            if fresh:
                log.write(json.dumps({"config": config.to_json()}) + "\n")
        start, first = time.perf_counter(), self.step
        try:
            while self.step < until:
                step = self.step
                line: dict[str, Any] = {"step": step}
                if step % config.watch_every == 0:
                    line |= self.watch()
                values = self.advance()
                if step % config.log_every == 0 or step % config.watch_every == 0 or self.step == until:
                    line |= {k: float(v) for k, v in values.items()}
                    if not math.isfinite(line["loss"]):
                        raise FloatingPointError(
                            f"the loss of step {step} is {line['loss']}; the last good state is in {self.checkpoint}"
                            if self.checkpoint.is_file()
                            else f"the loss of step {step} is {line['loss']}, before the first checkpoint"
                        )
                    if log:
                        log.write(json.dumps(line) + "\n")
                        log.flush()
                        if not quiet:
                            _show(self.step, config.steps, line["loss"], time.perf_counter() - start, self.step - first)
                if self.step % config.save_every == 0 or self.step == until:
                    if not all(bool(torch.isfinite(p).all()) for p in self._weights):
                        raise FloatingPointError(f"a weight is no longer finite after step {step}")
                    self.save()
        finally:
            if log:
                log.close()
                if not quiet:
                    print(file=sys.stderr)
        return (
            f"all {config.steps} steps were taken" if self.step == config.steps else f"stopped after step {self.step}"
        )


def _groups(student: Student) -> list[dict[str, Any]]:
    decayed: list[Tensor] = []
    free: list[Tensor] = []
    for name, parameter in student.named_parameters():
        (free if parameter.ndim < 2 or name.endswith("ask") else decayed).append(parameter)
    return [{"params": decayed, "decayed": 1.0}, {"params": free, "decayed": 0.0}]


def _show(step: int, steps: int, loss: float, seconds: float, taken: int) -> None:
    left = seconds / max(taken, 1) * (steps - step)
    bar = "#" * round(24 * step / steps)
    print(f"\r[{bar:<24}] {step}/{steps}  loss {loss:.4f}  {left:.0f} s left ", end="", file=sys.stderr, flush=True)
