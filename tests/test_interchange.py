"""A Latent as a PEFT prompt-tuning adapter answers as it does here, and comes back as it was."""

import copy
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from tiny_models import BOS_TEMPLATE, SENTENCES, TEMPLATE, tiny_model, tiny_tokenizer

from latent_memory_plugin import errors
from latent_memory_plugin.config import SamplingConfig
from latent_memory_plugin.engines.hf import LanguageModel
from latent_memory_plugin.forms.peft import CONFIG, WEIGHTS, export_adapter, read_adapter

P = 5
GREEDY = SamplingConfig(temperature=0, max_new_tokens=16)


def wrapped(architecture: str = "llama", bos: bool = False) -> LanguageModel:
    tokenizer = tiny_tokenizer(template=BOS_TEMPLATE if bos else TEMPLATE, bos=bos)
    return LanguageModel.wrap(tiny_model(architecture), tokenizer, "org/tiny")


def vectors(model: LanguageModel, seed: int = 0) -> torch.Tensor:
    scale = float(model.token_embeddings(range(20)).std())
    return scale * torch.randn(P, model.hidden_size, generator=torch.Generator().manual_seed(seed))  # (P, H)


def peft_answers(model: LanguageModel, folder: Path, questions: list[str], drop: int) -> list[tuple[int, ...]]:
    """Greedy token ids by PEFT's own generation, the first ids of each prompt left out."""
    from peft import PeftModel

    adapted = PeftModel.from_pretrained(copy.deepcopy(model._engine.model), str(folder)).eval()
    answers: list[tuple[int, ...]] = []
    for question in questions:
        ids = torch.tensor([model.prompt_ids(question)[drop:]])  # (1, T)
        asked: dict[str, Any] = {"input_ids": ids, "attention_mask": torch.ones_like(ids), "do_sample": False}
        ends = list(model._end_ids)
        found = adapted.generate(**asked, max_new_tokens=16, pad_token_id=0, eos_token_id=ends)[0].tolist()
        answers.append(tuple(found[ids.shape[1] :] if found[: ids.shape[1]] == ids[0].tolist() else found))
    return answers


def own_answers(model: LanguageModel, latent: torch.Tensor, questions: list[str]) -> list[tuple[int, ...]]:
    return [model.sample([one], [latent], 1, GREEDY, 0)[0][0].token_ids for one in questions]


@pytest.mark.parametrize(("architecture", "bos"), [("llama", False), ("gpt2", False), ("llama", True), ("gpt2", True)])
def test_peft_answers_with_an_exported_latent_as_this_library_does(
    tmp_path: Path, architecture: str, bos: bool
) -> None:
    model = wrapped(architecture, bos)
    latent = vectors(model)
    assert export_adapter(model, "a" * 32, {"latent": latent.numpy()}, tmp_path / "adapter") == P + bos
    ours = own_answers(model, latent, SENTENCES)
    assert peft_answers(model, tmp_path / "adapter", SENTENCES, drop=int(bos)) == ours
    assert ours != own_answers(model, vectors(model, 1), SENTENCES)
    if bos:  # what the folder's README warns of
        assert "beginning-of-sequence" in (tmp_path / "adapter" / "README.md").read_text()
        assert peft_answers(model, tmp_path / "adapter", SENTENCES, drop=0) != ours
    np.testing.assert_array_equal(read_adapter(model, tmp_path / "adapter")["latent"], latent.numpy())


def test_the_embedded_model_exports_imports_and_reads_an_adapter(tmp_path: Path) -> None:
    from latent_memory_plugin.memory import LatentMemory

    question = "A trip lasts 3 weeks and 2 days. How many days is that?"
    with LatentMemory(tmp_path / "root") as memory:
        model: Any = memory.model
        latent = vectors(model)
        export_adapter(model, "a" * 32, {"latent": latent.numpy()}, tmp_path / "adapter")
        assert peft_answers(model, tmp_path / "adapter", [question], drop=1) == own_answers(model, latent, [question])

        stored = memory.import_peft(tmp_path / "adapter", question)
        assert (memory.standing(stored).state, memory.find(question).latent_id) == ("probation", stored)
        assert memory.latent(stored).objective == "peft" and "PEFT" in memory.latent(stored).trial.reason
        assert memory.import_peft(tmp_path / "adapter", question, "live") != stored
        memory.export_peft(stored, tmp_path / "again")
        assert (tmp_path / "again" / WEIGHTS).read_bytes() != b""
        np.testing.assert_array_equal(read_adapter(model, tmp_path / "again")["latent"], latent.numpy())
        with pytest.raises(errors.InputError, match="something at"):
            memory.export_peft(stored, tmp_path / "again")
        with pytest.raises(errors.InputError, match="state='retired'"):
            memory.import_peft(tmp_path / "adapter", question, "retired")  # type: ignore[arg-type]


def test_an_adapter_that_peft_has_trained_is_read(tmp_path: Path) -> None:
    from peft import PromptTuningConfig, TaskType, get_peft_model

    model = wrapped()
    config = PromptTuningConfig(task_type=TaskType.CAUSAL_LM, num_virtual_tokens=P)
    trained = get_peft_model(copy.deepcopy(model._engine.model), config)
    trained.save_pretrained(str(tmp_path))
    tensor = read_adapter(model, tmp_path)["latent"]
    assert tensor.shape == (P, model.hidden_size)
    np.testing.assert_array_equal(tensor, trained.get_prompt_embedding_to_save("default").detach().numpy())


def test_what_is_no_adapter_of_this_model_is_refused(tmp_path: Path) -> None:
    model, folder = wrapped(), tmp_path / "adapter"
    export_adapter(model, "a" * 32, {"latent": vectors(model).numpy()}, folder)

    def told(**changes: Any) -> Path:
        shutil.copytree(folder, made := tmp_path / f"{len(list(tmp_path.iterdir()))}")
        fields = json.loads((made / CONFIG).read_text()) | changes
        (made / CONFIG).write_text(json.dumps(fields))
        return made

    def holding(tensors: dict[str, torch.Tensor], **changes: Any) -> Path:
        save_file(tensors, (made := told(**changes)) / WEIGHTS)
        return made

    right = vectors(model)
    renamed = holding({"prompt_embeddings": right}, base_model_name_or_path="/else/tiny")
    assert len(read_adapter(model, renamed)["latent"]) == P
    with pytest.raises(errors.WrongModelError, match=r"'org/big'.*'org/tiny'"):
        read_adapter(model, holding({"prompt_embeddings": right}, base_model_name_or_path="org/big"))
    with pytest.raises(errors.WrongModelError, match="7 numbers"):
        read_adapter(model, holding({"prompt_embeddings": torch.zeros(P, 7)}))
    with pytest.raises(errors.WrongModelError, match="fingerprint"):
        read_adapter(LanguageModel.wrap(tiny_model(seed=1), tiny_tokenizer(), "org/tiny"), folder)
    for wrong in (
        told(peft_type="LORA"),
        told(task_type="SEQ_2_SEQ_LM"),
        holding({"other": right}),
        holding({"prompt_embeddings": right * float("nan")}),
        holding({"prompt_embeddings": right[0]}),
        tmp_path / "missing",
    ):
        with pytest.raises(errors.InputError):
            read_adapter(model, wrong)
    (folder / WEIGHTS).rename(folder / "adapter_model.bin")
    with pytest.raises(errors.InputError, match=r"never from a \.bin"):
        read_adapter(model, folder)
