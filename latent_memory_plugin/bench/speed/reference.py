"""The reference for learning: TRL's GRPOTrainer on PEFT's prompt tuning, with plain `generate`.

One problem fills the batch, so nothing is padded and prompt tuning is computed as it should be.
"""

import tempfile
import time
from contextlib import redirect_stdout
from importlib.util import find_spec
from io import StringIO
from typing import Any, cast

from latent_memory_plugin.bench.speed.subject import LATENT_TOKENS, Subject

MISSING = "trl is not installed: pip install 'latent-memory-plugin[bench]'"


def is_installed() -> bool:
    """Whether the reference can be run."""
    return find_spec("trl") is not None


def learn(subject: Subject, question: str, rollouts: int, steps: int, new_tokens: int) -> float:
    """Seconds that `train` takes for a Latent, every second rollout rewarded; building the trainer is not counted.

    The trainer leaves its settings on the model.
    """
    with tempfile.TemporaryDirectory() as folder:
        trainer = _trainer(subject, question, rollouts, steps, new_tokens, folder)
        began = time.perf_counter()
        # It prints a summary, and standard output may be a report's.
        with redirect_stdout(StringIO()):
            trainer.train()
        subject.wait()
        return time.perf_counter() - began


def _trainer(subject: Subject, question: str, rollouts: int, steps: int, new_tokens: int, folder: str) -> Any:
    # The extra `bench`, which need not be installed.
    import datasets as their_data  # pyright: ignore
    import trl as their_trainer  # pyright: ignore
    from peft import PromptTuningConfig

    data, library = cast(Any, their_data), cast(Any, their_trainer)
    settings = library.GRPOConfig(
        output_dir=folder,
        per_device_train_batch_size=rollouts,
        num_generations=rollouts,
        max_completion_length=new_tokens,
        # Every completion has all its tokens, as ours have.
        generation_kwargs={"min_new_tokens": new_tokens},
        max_steps=steps,
        learning_rate=0.05,
        temperature=1.0,
        top_k=0,
        beta=0.0,
        gradient_checkpointing=False,
        bf16=False,
        use_cpu=subject.device.type == "cpu",
        report_to=[],
        logging_strategy="no",
        save_strategy="no",
        disable_tqdm=True,
    )
    rows = [{"prompt": [{"role": "user", "content": question}]}] * (rollouts * steps)
    return library.GRPOTrainer(
        model=subject.module,
        reward_funcs=_every_second,
        args=settings,
        train_dataset=data.Dataset.from_list(rows),
        processing_class=subject.tokenizer,
        peft_config=PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=LATENT_TOKENS),
    )


def _every_second(completions: list[Any], **_: Any) -> list[float]:
    return [float(number % 2) for number in range(len(completions))]
