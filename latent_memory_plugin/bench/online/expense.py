"""What a plan costs before anything is run: completions, tokens and hours of each method, and the memory it takes."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, cast

from latent_memory_plugin.bench.cost import GIB, Device, Lengths, Machine, Precision, latent_bytes
from latent_memory_plugin.bench.online.ceiling import SHARED, Ceiling, Work
from latent_memory_plugin.bench.online.plan import Plan
from latent_memory_plugin.bench.online.sets import SETS
from latent_memory_plugin.bench.online.stream import open_stream
from latent_memory_plugin.bench.shapes import shape_of
from latent_memory_plugin.engines.hf.load import EMBEDDED_FOLDER, EMBEDDED_NAME, EMBEDDED_PARTS
from latent_memory_plugin.errors import ModelLoadError

TOTAL = "together"
COPIES = ("lora_per_problem", "lora_offline")
"""Methods that train adapters on a second copy of the weights."""


@dataclass(frozen=True)
class Expense:
    """A plan on a device."""

    plan: Plan
    """What is to be measured."""
    device: Device
    """Where."""
    completion_tokens: int = Lengths().completion
    """Tokens of a completion on average; never more than the plan allows."""

    @property
    def machine(self) -> Machine:
        """Model and device. Raises ModelLoadError where the model's sizes are not known."""
        model = self.plan.model
        part = EMBEDDED_PARTS.get(model.name or EMBEDDED_NAME)
        name = str(model.name) if part is None else str(EMBEDDED_FOLDER / part)
        copies = 2 if set(self.plan.names) & set(COPIES) else 1
        shape = shape_of(name, model.revision, model.trust_remote_code)
        precision: Precision = "bfloat16" if model.dtype == "auto" else model.dtype
        return Machine(shape, self.device, "4bit" if shape.bits == 4 else precision, copies)

    @property
    def lengths(self) -> Lengths:
        """How long prompts and completions are taken to be."""
        longest = self.plan.asking.sampling.max_new_tokens
        return Lengths(completion=min(self.completion_tokens, longest), longest=longest)

    @property
    def problems(self) -> int:
        """Length of a stream; a data set of the hub is not asked for it."""
        if self.plan.problems in SETS:
            whole = SETS[self.plan.problems].problems
            return min(whole, self.plan.first or whole)
        plan = self.plan
        return len(open_stream(plan.problems, plan.split, plan.seeds[0], plan.first, plan.world).asked)

    def report(self) -> dict[str, Any]:
        """`methods`: for each, for what they share and for all together, completions sampled and scored, their tokens
        and the hours, likely and at most, over all seeds. `memory`: bytes. Raises ModelError where the model does not
        fit the device, ModelLoadError where it is not known, InputError for problems that are not there."""
        machine, ceiling = self.machine, Ceiling(self.problems, self.plan.samples, self.plan.voters)
        machine.check(self.lengths)
        rows = {SHARED: self._row(machine, ceiling.shared, ceiling.shared)}
        rows |= {name: self._row(machine, ceiling.likely(name), ceiling.of(name)) for name in self.plan.names}
        return {
            "methods": rows | {TOTAL: _summed(list(rows.values()))},
            "problems": ceiling.problems,
            "seeds": len(self.plan.seeds),
            "memory": self._memory(machine),
            "lengths": asdict(self.lengths),
            "device": asdict(self.device),
            "shape": asdict(machine.shape),
            "precision": machine.precision,
        }

    def _memory(self, machine: Machine) -> dict[str, float]:
        row = self.lengths.row
        return {
            "copies": machine.copies,
            "weights_gib": machine.copies * machine.weights_bytes / GIB,
            "row_tokens": row,
            "cache_token_kib": machine.cache_token_bytes / 1024,
            "cache_row_gib": row * machine.cache_token_bytes / GIB,
            "pass_token_mib": machine.pass_token_bytes / 2**20,
            "pass_row_gib": machine.pass_bytes(row) / GIB,
            "rows_together": machine.rows(self.lengths),
            "pass_tokens": machine.pass_tokens,
            "latent_kib": latent_bytes(machine.shape) / 1024,
        }

    def _row(self, machine: Machine, likely: Work, most: Work) -> dict[str, float]:
        return self._part(machine, likely, self.lengths, "") | self._part(machine, most, self.lengths.at_most, "most_")

    def _part(self, machine: Machine, work: Work, lengths: Lengths, prefix: str) -> dict[str, float]:
        seeds = len(self.plan.seeds)
        seconds = machine.seconds((*work.answering, *work.learning), work.scores, lengths)
        return {
            f"{prefix}sampled": seeds * work.sampled,
            f"{prefix}scored": seeds * work.scored,
            f"{prefix}sampled_tokens": seeds * work.sampled * lengths.completion,
            f"{prefix}scored_tokens": seeds * work.scored * lengths.completion,
            f"{prefix}hours": seeds * seconds / 3600,
        }


def pass_tokens(plan: Plan) -> int | None:
    """Tokens that one forward and backward pass may hold on the GPU that a plan's model goes to; None without one, and
    where the model's sizes are not known yet. Raises ModelError where the model does not fit."""
    device = gpu(plan.model.device)
    if device is None:
        return None
    expense = Expense(plan, device)
    try:
        machine = expense.machine
    except ModelLoadError:  # it may be on the hub, which is asked when it is loaded
        return None
    machine.check(expense.lengths)
    return machine.pass_tokens


def gpu(name: str) -> Device | None:
    """The CUDA device of that name, by its memory alone; None where the name leads elsewhere or there is none."""
    import torch

    if not torch.cuda.is_available() or not name.startswith(("auto", "cuda")):
        return None
    found: Any = cast(Any, torch.cuda).get_device_properties("cuda" if name == "auto" else name)
    return Device(str(found.name), float(found.total_memory), bandwidth=1.0, flops=1.0)


def _summed(rows: Sequence[dict[str, float]]) -> dict[str, float]:
    return {name: sum(row[name] for row in rows) for name in rows[0]}
