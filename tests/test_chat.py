"""`ChatModel`: replies are the answers of `ask`, streams are the replies piece by piece, references are resolved or
refused in words, and what a tool is called in stays out of the record of uses."""

import json
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from memory_world import AGES, ANSWERS, SUMS, config, fake, fake_memory
from store_builders import latent as record_of
from tiny_models import ARCHITECTURES, CONTEXT_TOKENS, tiny_model, tiny_tokenizer

from latent_memory_plugin import Answer, ChatModel, LatentMemory, Reference, Reply, ToolCall, question_of
from latent_memory_plugin.answering.tools import Parsed
from latent_memory_plugin.answering.turn import tensor_hash
from latent_memory_plugin.config import Config, RouteConfig, SamplingConfig
from latent_memory_plugin.engines.hf import LanguageModel
from latent_memory_plugin.errors import ConfigError, ContextLengthError, InputError
from latent_memory_plugin.records import MAX_QUESTION_CHARACTERS, LatentState, Problem, Rollout, Standing
from latent_memory_plugin.sandbox.tokenizer import CHAT_TEMPLATE
from latent_memory_plugin.sandbox.world import families, stream
from latent_memory_plugin.testing import FakeModel

ID = "a" * 32
SUM, PLAIN, OTHER = SUMS[0], "2", "0"
"""A question of the fake world, and its answers without and with a Latent that changes them."""
CHANGES, CONFIRMS = -10.0, 10.0
"""Means of a Latent that turns the fake's answer round, and of one that does not."""
CALC = {
    "type": "function",
    "function": {"name": "calc", "parameters": {"type": "object", "properties": {"expression": {"type": "string"}}}},
}
HERMES = "{% if tools %}<tool_call>{% endif %}"
"""Enough of a template for a fake to be read the hermes way."""
QUESTIONS = [problem.question for problem in stream(families("tuning"), 4, 1)]
QUESTION = "How many posts are there?"


def put(memory: LatentMemory, tensor: np.ndarray, question: str, latent_id: str = ID) -> Reference:
    """Stores a live Latent under the key of a question."""
    opened = memory.opened
    record = record_of(
        id=latent_id,
        namespace=memory.namespace,
        shape=tensor.shape,
        model=opened.model.name,
        fingerprint=opened.model.fingerprint,
        encoder=opened.encoder.name,
    )
    opened.store.put(record, {"latent": tensor}, opened.encoder.keys([question])[0])
    return Reference(ids=(latent_id,), hash=tensor_hash({"latent": tensor}))


def constant(mean: float = CHANGES) -> np.ndarray:
    return np.full((3, 4), mean, dtype=np.float32)  # (P, H)


def stand(memory: LatentMemory, state: LatentState) -> None:
    memory.opened.store.stand(Standing(latent_id=ID, state=state))


def surely(**changes: Any) -> FakeModel:
    """A fake that gives its first answer almost surely."""
    return fake(bias=20.0, **changes)


@pytest.fixture
def memory(tmp_path: Path) -> Iterator[LatentMemory]:
    with fake_memory(tmp_path, model=surely()) as opened:
        yield opened


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LatentMemory]:
    with LatentMemory(tmp_path_factory.mktemp("sandbox")) as opened:
        model = opened.model
        put(opened, model.token_embeddings(model.question_ids(QUESTIONS[1])).numpy(), QUESTIONS[0])
        yield opened


@pytest.fixture
def sandbox(shared: LatentMemory) -> LatentMemory:
    """The tests' one memory of the embedded model, with a Latent for its first question: another question, as text."""
    shared.on()
    return shared


@pytest.fixture(params=ARCHITECTURES)
def tiny(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[LatentMemory]:
    """A memory of a tiny random model, whose completions are full of half characters, with a Latent for `QUESTION`."""
    with tiny_memory(tmp_path, request.param) as opened:
        yield opened


def tiny_memory(root: Path, architecture: str = "llama") -> LatentMemory:
    model = LanguageModel.wrap(tiny_model(architecture), tiny_tokenizer(), f"tiny {architecture}")
    memory = LatentMemory(root, model, config=Config(sampling=SamplingConfig(max_new_tokens=16)))
    put(memory, np.random.default_rng(0).standard_normal((4, 32)).astype(np.float32), QUESTION)
    return memory


def text_of(reply: Reply) -> str:
    return reply.choices[0].text


def without_ids(reply: Reply) -> dict[str, Any]:
    """All of a reply but the ids, which no other reply has."""
    told = reply.model_dump()
    del told["answer"]["id"]
    for choice in told["choices"]:
        for call in choice["tool_calls"]:
            del call["id"]
    return told


def joined(pieces: Sequence[str | Reply]) -> tuple[str, Reply]:
    """The text of a stream and the reply at its end."""
    *texts, reply = pieces
    assert isinstance(reply, Reply) and all(isinstance(text, str) and text for text in texts)
    return "".join(map(str, texts)), reply


# -- a reply is the answer of ask --------------------------------------------------------------------------------------


def test_a_reply_read_with_the_reference_is_the_answer_of_ask(sandbox: LatentMemory) -> None:
    chat = ChatModel(sandbox)
    for seed, question in enumerate([QUESTIONS[0], *QUESTIONS]):
        reference = chat.refer(question)
        asked = sandbox.ask(question, seed=seed)
        reply = chat.reply(question, latent=reference, seed=seed)
        assert reference.ids == reply.answer.latent_ids == asked.latent_ids
        assert text_of(reply) == reply.answer.text == asked.text
        for name in ("question", "answer", "usage", "rollouts", "seed"):
            assert getattr(reply.answer, name) == getattr(asked, name)
        if reference.ids:
            assert reply.answer.reason == asked.reason
            assert reply.answer.similarity == pytest.approx(asked.similarity, abs=1e-4)
    assert chat.refer(QUESTIONS[0]).ids == (ID,) and chat.refer(QUESTIONS[3]) == Reference()


def test_the_latent_that_a_reference_names_changes_the_reply(sandbox: LatentMemory) -> None:
    chat = ChatModel(sandbox)
    reference = chat.refer(QUESTIONS[0])
    read = [text_of(chat.reply(QUESTIONS[0], latent=reference, seed=seed)) for seed in range(3)]
    assert read != [text_of(chat.reply(QUESTIONS[0], seed=seed)) for seed in range(3)]


def test_without_a_reference_or_with_memory_off_a_reply_is_the_plain_models(sandbox: LatentMemory) -> None:
    chat, question = ChatModel(sandbox), QUESTIONS[0]
    [[plain]] = sandbox.model.sample([question], [None], 1, SamplingConfig(), seed=7)
    reference = chat.refer(question)
    none = chat.reply(question, seed=7)
    empty = chat.reply(question, latent=Reference().carried(), seed=7)
    sandbox.off()
    off = chat.reply(question, latent=reference, seed=7)
    assert text_of(none) == text_of(empty) == text_of(off) == plain.text
    assert {one.answer.rollouts[0].token_ids for one in (none, empty, off)} == {plain.token_ids}
    assert none.answer.reason == empty.answer.reason == "No Latent is named."
    assert off.answer.reason == "Memory is off." and chat.refer(question) == Reference()
    assert {one.answer.latent_ids for one in (none, empty, off)} == {()}
    assert not any(sandbox.opened.store.uses(answer_id=one.answer.id) for one in (none, empty, off))


def test_a_question_is_one_user_message_and_white_space_around_it_does_not_matter(sandbox: LatentMemory) -> None:
    chat = ChatModel(sandbox)
    expected = without_ids(chat.reply(QUESTIONS[0], seed=0))
    assert without_ids(chat.reply([{"role": "user", "content": QUESTIONS[0]}], seed=0)) == expected
    assert without_ids(chat.reply(f"\n {QUESTIONS[0]} \n", seed=0)) == expected
    assert chat.refer(f"\n {QUESTIONS[0]} \n") == chat.refer(QUESTIONS[0])


def test_a_chat_is_answered_as_the_model_samples_it(sandbox: LatentMemory) -> None:
    chat = ChatModel(sandbox)
    messages = [
        {"role": "system", "content": "Solve it."},
        {"role": "user", "content": QUESTIONS[1]},
        {"role": "assistant", "content": "#### 3"},
        {"role": "user", "content": QUESTIONS[0]},
    ]
    [[plain]] = sandbox.model.sample([messages], [None], 1, SamplingConfig(), seed=1)
    reply = chat.reply(messages, seed=1)
    assert text_of(reply) == plain.text and reply.answer.question == QUESTIONS[0]
    assert reply.answer.usage.prompt_tokens == len(sandbox.model.prompt_ids(messages))


def test_a_seed_repeats_a_reply_and_none_draws_a_fresh_one(sandbox: LatentMemory) -> None:
    chat = ChatModel(sandbox)
    first = chat.reply(QUESTIONS[0])
    assert without_ids(chat.reply(QUESTIONS[0], seed=first.answer.seed)) == without_ids(first)
    assert chat.reply(QUESTIONS[0]).answer.seed != first.answer.seed


def test_several_completions_are_choices_and_the_votes_winner_is_the_text(sandbox: LatentMemory) -> None:
    reply, asked = ChatModel(sandbox).reply(QUESTIONS[3], n=5, seed=0), sandbox.ask(QUESTIONS[3], n=5, seed=0)
    assert [choice.text for choice in reply.choices] == [one.text for one in asked.rollouts]
    assert (reply.answer.text, reply.answer.answer) == (asked.text, asked.answer)
    with pytest.raises(InputError, match="n=0"):
        ChatModel(sandbox).reply(QUESTIONS[0], n=0)


def test_a_reply_says_whether_it_ended_or_ran_out_of_tokens(sandbox: LatentMemory) -> None:
    chat = ChatModel(sandbox)
    assert chat.reply(QUESTIONS[0], seed=0).choices[0].finish_reason == "stop"
    assert chat.reply(QUESTIONS[0], seed=0, max_new_tokens=3).choices[0].finish_reason == "length"


def test_the_memorys_sampling_is_the_default_and_a_callers_setting_is_checked(tmp_path: Path) -> None:
    with tiny_memory(tmp_path) as memory:
        chat = ChatModel(memory)
        assert chat.reply(QUESTION, seed=0).answer.usage.completion_tokens <= 16
        with pytest.raises(ConfigError, match="tempature"):
            chat.reply(QUESTION, tempature=1)
        with pytest.raises(InputError, match="seed='a'"):
            chat.reply(QUESTION, seed="a")  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize(
    "messages",
    [None, 5, "", " \n", [], ["text"], [{"content": "x"}], [{"role": "user"}], [{"role": "user", "content": 3}]],
)
def test_messages_that_are_none_are_refused(sandbox: LatentMemory, messages: Any) -> None:
    for call in (ChatModel(sandbox).reply, ChatModel(sandbox).stream):
        with pytest.raises(InputError):
            call(messages)


def test_the_question_of_a_chat_is_the_text_of_its_last_user_message() -> None:
    parts = [{"type": "text", "text": " How "}, {"type": "image", "url": "x"}, "many?\n"]
    chat: list[dict[str, Any]] = [
        {"role": "user", "content": "First."},
        {"role": "user", "content": parts},
        {"role": "tool", "content": "7"},
    ]
    assert question_of(chat) == "How many?" and question_of(" a ") == "a"
    assert question_of(chat[2:]) == question_of([]) == question_of([{"role": "user", "content": None}]) == ""


def test_a_use_is_recorded_by_the_end_of_a_question_of_any_length(tmp_path: Path) -> None:
    long = "x" * MAX_QUESTION_CHARACTERS + SUM
    asked = long[-MAX_QUESTION_CHARACTERS:]
    with fake_memory(tmp_path, model=surely(answers={long: (PLAIN, OTHER)})) as memory:
        chat, reference = ChatModel(memory), put(memory, constant(), asked)
        assert chat.refer(long) == chat.refer(long + " " * MAX_QUESTION_CHARACTERS) == reference
        reply = chat.reply(long, latent=reference)
        assert (reply.answer.question, reply.answer.answer) == (asked, OTHER)
        [use] = memory.opened.store.uses()
        assert use.problem_hash == Problem(question=asked).hash


def test_nothing_is_referred_to_for_an_empty_question_or_one_that_no_latent_is_near(memory: LatentMemory) -> None:
    put(memory, constant(), SUM)
    chat = ChatModel(memory)
    assert chat.refer("") == chat.refer(" \n") == chat.refer(AGES[0]) == Reference()
    assert chat.refer(SUM).carried() == {"ids": [ID], "hash": tensor_hash({"latent": constant()})}


# -- what a reference becomes ------------------------------------------------------------------------------------------


def refused(memory: LatentMemory, latent: Any, reason: str) -> None:
    """The plain answer, for this reason, in `reply` and in `stream`, and nothing recorded."""
    chat = ChatModel(memory)
    plain = chat.reply(SUM, seed=0)
    for reply in (chat.reply(SUM, latent=latent, seed=0), joined(list(chat.stream(SUM, latent=latent, seed=0)))[1]):
        assert (text_of(reply), reply.answer.latent_ids) == (text_of(plain), ()) and text_of(plain) == f"#### {PLAIN}"
        assert reason in reply.answer.reason and reply.answer.usage.latent_tokens == 0
    assert memory.opened.store.uses() == []


def test_a_reference_that_holds_is_read_however_it_is_carried(memory: LatentMemory) -> None:
    reference, chat = put(memory, constant(), SUM), ChatModel(memory)
    for carried in (reference, reference.carried(), json.loads(json.dumps(reference.carried()))):
        answer = chat.reply(SUM, latent=carried).answer
        assert (answer.answer, answer.latent_ids) == (OTHER, (ID,))
        assert answer.reason == f"Latent {ID} with a similarity of 1.00." and answer.usage.latent_tokens == 3


def test_a_reference_of_another_namespace_is_not_resolved(memory: LatentMemory) -> None:
    with fake_memory(memory.root, "other", surely()) as other:
        reference = put(other, constant(), SUM)
        assert ChatModel(other).reply(SUM, latent=reference).answer.latent_ids == (ID,)
    refused(memory, reference, f"Latent {ID} is not here, or no longer.")


@pytest.mark.parametrize("name", ["no such id", f"../../other/latents/{ID}", "a\0b", "x" * 5000])
def test_a_reference_to_what_is_no_latent_is_not_resolved_whatever_it_names(memory: LatentMemory, name: str) -> None:
    with fake_memory(memory.root, "other", surely()) as other:
        reference = put(other, constant(), SUM)
    refused(memory, Reference(ids=(name,), hash=reference.hash), "is not here, or no longer.")


def test_a_forgotten_latent_is_not_read(memory: LatentMemory) -> None:
    reference = put(memory, constant(), SUM)
    memory.forget(ID)
    refused(memory, reference, f"Latent {ID} is not here, or no longer.")


def test_a_latent_that_is_not_the_one_that_was_referred_to_is_not_read(memory: LatentMemory) -> None:
    reference = put(memory, constant(), SUM)
    memory.forget(ID)
    put(memory, constant(-9.0), SUM)
    refused(memory, reference, "It is not the one that was referred to.")
    refused(memory, Reference(ids=(ID,)), "It is not the one that was referred to.")


@pytest.mark.parametrize("state", ["suspended", "superseded", "retired"])
def test_a_latent_that_was_taken_back_is_not_read(memory: LatentMemory, state: LatentState) -> None:
    reference = put(memory, constant(), SUM)
    stand(memory, state)
    refused(memory, reference, f"Latent {ID} has just been {state}.")
    assert ChatModel(memory).refer(SUM) == Reference()


def test_with_memory_off_no_reference_is_read_until_it_is_on_again(memory: LatentMemory) -> None:
    reference = put(memory, constant(), SUM)
    memory.off()
    refused(memory, reference, "Memory is off.")
    memory.on()
    assert ChatModel(memory).reply(SUM, latent=reference).answer.latent_ids == (ID,)


@pytest.mark.parametrize(
    ("carried", "words"),
    [
        (5, "latent=5"),
        (ID, "is no reference"),
        ([ID], "is no reference"),
        ({"ids": [ID, "b" * 32]}, "at most 1"),
        ({"ids": ID}, "ids="),
        ({"ids": None}, "ids=None"),
        ({"ids": [""]}, "at least 1"),
        ({"ids": [7]}, "ids.0=7"),
        ({"id": [ID]}, "id="),
        ({1: 2}, "1=2"),
        ({"self": ID}, "self="),
    ],
)
def test_what_is_no_reference_is_refused_by_value(memory: LatentMemory, carried: Any, words: str) -> None:
    for call in (ChatModel(memory).reply, ChatModel(memory).stream):
        with pytest.raises(InputError, match=words):
            call(SUM, latent=carried)


# -- answers with and without ------------------------------------------------------------------------------------------


def likes(text: str) -> Any:
    """A verifier that prefers completions holding a text."""

    def liking(question: str, completion: str) -> float:
        return float(text in completion)

    return liking


@pytest.mark.parametrize(("preferred", "read"), [(PLAIN, ()), (OTHER, (ID,))])
@pytest.mark.parametrize("probation", [True, False])
def test_a_turn_that_is_compared_is_decided_as_ask_decides_it(
    tmp_path: Path, preferred: str, read: tuple[str, ...], probation: bool
) -> None:
    settings = {} if probation else {"route": {"mode": "agree"}}
    given: dict[str, Any] = {"model": surely(), "config": config(**settings), "verifier": likes(preferred)}
    with fake_memory(tmp_path, **given) as memory:
        reference = put(memory, constant(), SUM)
        stand(memory, "probation" if probation else "live")
        asked = memory.ask(SUM, seed=0)
        reply = ChatModel(memory).reply(SUM, latent=reference, seed=0, answer_id="mine")
        pieces = list(ChatModel(memory).stream(SUM, latent=reference, seed=0))
        uses = memory.opened.store.uses(latent_id=ID)
    text, whole = joined(pieces)
    assert len(pieces) == 2 and text == text_of(whole) == text_of(reply) == asked.text == f"#### {preferred}"
    for answer in (reply.answer, whole.answer):
        assert answer.latent_ids == asked.latent_ids == read and answer.usage == asked.usage
        assert answer.reason == asked.reason and "the verifier liking prefers" in answer.reason
        assert ("It is on probation." in answer.reason) == probation and answer.usage.completion_tokens == 2
    # The Latent's own answer is recorded, whichever was returned.
    assert [use.answer_id for use in uses] == [asked.id, "mine", whole.answer.id]
    assert {(use.answer, use.returned, use.problem_hash) for use in uses} == {
        (OTHER, bool(read), Problem(question=SUM).hash)
    }


def test_a_compared_turn_whose_answers_agree_says_so(memory: LatentMemory) -> None:
    reference = put(memory, constant(CONFIRMS), SUM)
    stand(memory, "probation")
    answer = ChatModel(memory).reply(SUM, latent=reference).answer
    assert answer.latent_ids == (ID,) and "The plain model gives the same answer." in answer.reason


def test_the_verifier_reads_the_chat_and_not_the_question_alone(tmp_path: Path) -> None:
    @dataclass(frozen=True)
    class Spied(FakeModel):
        read: list[Any] = field(default_factory=list[Any])

        def log_probabilities(self, conversations: Any, completions: Any, latent: Any) -> Any:
            self.read.extend(conversations)
            return super().log_probabilities(conversations, completions, latent)

    model = Spied(ANSWERS, bias=20.0)
    messages = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": SUM}]
    with fake_memory(tmp_path, model=model, config=config(route={"mode": "agree"})) as memory:
        reply = ChatModel(memory).reply(messages, latent=put(memory, constant(), SUM))
    assert "the verifier likelihood prefers" in reply.answer.reason
    assert [list(one.messages) for one in model.read] == [messages, messages]


# -- streams -----------------------------------------------------------------------------------------------------------


def streams(memory: LatentMemory, seed: int, **given: Any) -> tuple[str, Reply]:
    """The text of a stream, which has to equal the reply; and the reply."""
    chat, reference = ChatModel(memory), ChatModel(memory).refer(QUESTION)
    assert reference.ids
    text, whole = joined(list(chat.stream(QUESTION, latent=reference, seed=seed, **given)))
    expected = chat.reply(QUESTION, latent=reference, seed=seed, **given)
    assert text == text_of(whole) and without_ids(whole) == without_ids(expected)
    return text, whole


def test_the_pieces_of_a_stream_are_the_reply(tiny: LatentMemory) -> None:
    cut = 0
    for seed in range(4):
        text, reply = streams(tiny, seed)
        tensor = torch.from_numpy(tiny.opened.store.tensors(ID)["latent"])  # (P, H)
        [[rollout]] = tiny.model.sample([QUESTION], [tensor], 1, tiny.config.sampling, seed)
        assert text == rollout.text and reply.answer.latent_ids == (ID,)
        cut += reply.choices[0].finish_reason == "length"
    assert cut
    streams(tiny, 0, temperature=0)
    streams(tiny, 0, top_p=0.5, temperature=0.8)
    streams(tiny, 0, max_new_tokens=1)


@pytest.mark.parametrize("length", [1, 2, 3, 6])
def test_nothing_of_a_stop_string_is_ever_emitted(tmp_path: Path, length: int) -> None:
    with tiny_memory(tmp_path) as memory:
        for seed in range(2):
            free, _ = streams(memory, seed)
            for begin in range(1 + seed, len(free) - length, 6):
                stop = free[begin : begin + length]
                if "\ufffd" in stop:  # half a character is in no text that a caller could write
                    continue
                text, reply = streams(memory, seed, stop=[stop, "not there"])
                assert text == free.partition(stop)[0] and reply.choices[0].finish_reason == "stop"


def test_a_text_that_only_begins_like_a_stop_string_is_told_in_the_end(tmp_path: Path) -> None:
    with tiny_memory(tmp_path) as memory:
        for seed in range(3):
            free, _ = streams(memory, seed)
            ending = free.rstrip("\ufffd")[-3:]
            assert streams(memory, seed, stop=[f"{ending}!", f"{ending[-1:]}?!"])[0] == free


def test_the_pieces_come_while_the_text_is_sampled(tmp_path: Path) -> None:
    with tiny_memory(tmp_path) as memory:
        pieces = ChatModel(memory).stream(QUESTION, seed=0)
        first = next(pieces)
        *rest, reply = pieces
        assert isinstance(reply, Reply) and isinstance(first, str) and len(rest) >= 4
        # The first piece is the text of the first tokens and no more.
        assert len(first) < len(text_of(reply)) / 2


@dataclass(frozen=True)
class Telling(FakeModel):
    """A fake that tells these texts one after another."""

    texts: tuple[str, ...] = ()

    def stream(self, conversation: Any, latent: Any, sampling: SamplingConfig, seed: int) -> Iterator[Rollout]:
        for text in self.texts:
            yield Rollout(text=text, token_ids=(1,), finished=text is self.texts[-1])


@pytest.mark.parametrize(
    ("texts", "stop", "pieces"),
    [
        (("a", "ab", "abc"), (), ["a", "b", "c"]),
        (("a", "a", "ab"), (), ["a", "b"]),
        (("",), (), []),
        # A character in four tokens.
        (("\ufffd", "\ufffd", "\ufffd", "🙂", "🙂\ufffd", "🙂é"), (), ["🙂", "é"]),
        # What stays half in the end is told in the end.
        (("a", "a\ufffd"), (), ["a", "\ufffd"]),
        # A stop string that crosses tokens.
        (("a", "a#", "a##", "a"), ("###",), ["a"]),
        (("a", "a#", "a##", "a##b", "a##bc"), ("###",), ["a", "##b", "c"]),
        (("x\n", "x\n\n", "x\n\nO", "x"), ("\n\nObs", "\n\nOut"), ["x"]),
        # The text ends like the middle of a stop string, which is no beginning of one.
        (("ab", "abc"), ("zab",), ["ab", "c"]),
        # It begins like two; the longer is kept back.
        (("ab", "abx", "abxy"), ("abc", "bx!"), ["a", "bxy"]),
        (("é#\ufffd", "é"), ("#🙂",), ["é"]),
    ],
)
def test_a_piece_is_told_once_nothing_can_take_it_back(
    tmp_path: Path, texts: tuple[str, ...], stop: tuple[str, ...], pieces: list[str]
) -> None:
    with fake_memory(tmp_path, model=Telling(ANSWERS, texts=texts)) as memory:
        *told, reply = ChatModel(memory).stream(SUM, stop=stop)
    assert told == pieces and isinstance(reply, Reply) and text_of(reply) == texts[-1]


def test_what_cannot_be_answered_is_refused_by_the_call_and_not_by_the_first_piece(tmp_path: Path) -> None:
    with tiny_memory(tmp_path) as memory:
        chat = ChatModel(memory)
        with pytest.raises(ContextLengthError, match=str(CONTEXT_TOKENS)):
            chat.stream(QUESTION, max_new_tokens=CONTEXT_TOKENS)
        with pytest.raises(ContextLengthError):
            chat.stream(QUESTION, latent=chat.refer(QUESTION), max_new_tokens=CONTEXT_TOKENS)
        with pytest.raises(ConfigError, match="temperature"):
            chat.stream(QUESTION, temperature=-1)
        with pytest.raises(InputError, match="cannot be told from its chat template"):
            chat.stream(QUESTION, tools=[CALC])


def test_no_latent_applies_to_a_question_that_the_model_cannot_read(tmp_path: Path) -> None:
    with tiny_memory(tmp_path) as memory:
        long = "word " * CONTEXT_TOKENS
        assert ChatModel(memory).refer(long) == Reference()
        with pytest.raises(ContextLengthError):  # it says so itself
            ChatModel(memory).reply(long)


def test_streams_read_in_turns_or_in_threads_do_not_disturb_each_other(tiny: LatentMemory) -> None:
    chat, reference = ChatModel(tiny), ChatModel(tiny).refer(QUESTION)
    asked: list[dict[str, Any]] = [{"seed": 1}, {"seed": 2, "latent": reference}]
    alone = [without_ids(chat.reply(QUESTION, **one)) for one in asked]
    streams: list[Iterator[str | Reply]] = [chat.stream(QUESTION, **one) for one in asked]
    taken: list[list[str | Reply]] = [[], []]
    while not all(told and isinstance(told[-1], Reply) for told in taken):
        for pieces, told in zip(streams, taken, strict=True):
            told += [one for one in [next(pieces, None)] if one is not None]
    with ThreadPoolExecutor(2) as pool:
        threads = list(pool.map(lambda one: list(chat.stream(QUESTION, **one)), asked))
    for told in (taken, threads):
        assert [without_ids(joined(one)[1]) for one in told] == alone
        assert [joined(one)[0] for one in told] == [one["choices"][0]["text"] for one in alone]


def test_an_abandoned_stream_records_nothing_and_leaves_the_model_as_it_was(tmp_path: Path) -> None:
    with tiny_memory(tmp_path) as memory:
        chat, reference = ChatModel(memory), ChatModel(memory).refer(QUESTION)
        expected = without_ids(chat.reply(QUESTION, latent=reference, seed=0))
        recorded = len(memory.opened.store.uses(latent_id=ID))
        pieces: Any = chat.stream(QUESTION, latent=reference, seed=0)
        next(pieces)
        weights: Any = memory.opened.model._engine.model
        assert all(weight.requires_grad for weight in weights.parameters()) and torch.is_grad_enabled()
        pieces.close()
        assert len(memory.opened.store.uses(latent_id=ID)) == recorded == 1
        assert without_ids(chat.reply(QUESTION, latent=reference, seed=0)) == expected


# -- what is recorded --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("streamed", [True, False])
def test_a_reply_read_with_a_latent_is_recorded_under_its_id_and_feedback_reaches_the_latent(
    memory: LatentMemory, streamed: bool
) -> None:
    chat, reference = ChatModel(memory), put(memory, constant(), SUM)

    def reply(answer_id: str | None) -> Answer:
        if streamed:
            return joined(list(chat.stream(SUM, latent=reference, answer_id=answer_id)))[1].answer
        return chat.reply(SUM, latent=reference, answer_id=answer_id).answer

    given, fresh = reply("run-7"), reply(None)
    assert given.id == "run-7" and len(fresh.id) == 32
    uses = memory.opened.store.uses(latent_id=ID)
    assert [(use.answer_id, use.answer, use.returned, use.correct) for use in uses] == [
        ("run-7", OTHER, True, None),
        (fresh.id, OTHER, True, None),
    ]
    memory.feedback("run-7", correct=False)
    assert [use.correct for use in memory.opened.store.uses(latent_id=ID)] == [False, None]
    reply("run-7")
    assert len(memory.opened.store.uses(latent_id=ID)) == 2


def test_a_latent_whose_replies_were_wrong_is_taken_back_by_feedback(memory: LatentMemory) -> None:
    for question in SUMS[:8]:
        memory.observe(question, rollouts=[f"#### {ANSWERS[question][0]}"] * 12)
    chat, reference = ChatModel(memory), put(memory, constant(), SUM)
    for number, question in enumerate(SUMS[:8]):
        chat.reply(question, latent=reference, answer_id=f"run-{number}")
        memory.feedback(f"run-{number}", correct=False)
    assert memory.standing(ID).state in ("suspended", "retired")
    assert "has just been" in chat.reply(SUM, latent=reference).answer.reason


def calling(*written: str) -> FakeModel:
    """A fake that writes one of two texts, in which calls of tools are read the hermes way."""
    first, second = written * 2 if len(written) == 1 else written
    return surely(answers={**ANSWERS, SUM: (first, second)}, chat_template=HERMES)


CALLED = '<tool_call>{"name": "calc", "arguments": {"expression": "1+1"}}</tool_call>'


@pytest.mark.parametrize(("written", "valid"), [(f"2 {CALLED}", True), ('2 <tool_call>{"name": 7', False)])
@pytest.mark.parametrize("streamed", [True, False])
def test_a_reply_that_calls_tools_is_no_answer_and_no_use_of_a_latent(
    tmp_path: Path, written: str, valid: bool, streamed: bool
) -> None:
    with fake_memory(tmp_path, model=calling(written)) as memory:
        chat, reference = ChatModel(memory), put(memory, constant(), SUM)
        reply = chat.reply(SUM, latent=reference, tools=[CALC], answer_id="run-7")
        if streamed:
            pieces = list(chat.stream(SUM, latent=reference, tools=[CALC], answer_id="run-7"))
            text, reply = joined(pieces)
            # In one piece: what is a call is known at its end.
            assert len(pieces) == 2 and text == text_of(reply)
        [choice] = reply.choices
        assert [(call.name, call.arguments) for call in choice.tool_calls] == [("calc", {"expression": "1+1"})] * valid
        assert choice.invalid_calls == (() if valid else ('{"name": 7',))
        assert choice.finish_reason == ("tool_calls" if valid else "stop")
        assert choice.text == reply.answer.text == "#### 2" and reply.answer.answer is None
        assert reply.answer.latent_ids == (ID,) and reply.answer.id == "run-7"
        assert memory.opened.store.uses() == [] and memory.feedback("run-7", correct=True) == []


def test_a_final_reply_is_recorded_also_where_tools_are_given(tmp_path: Path) -> None:
    with fake_memory(tmp_path, model=calling(PLAIN)) as memory:
        chat, reference = ChatModel(memory), put(memory, constant(), SUM)
        reply = chat.reply(SUM, latent=reference, tools=[CALC], answer_id="run-7")
        assert (reply.answer.answer, reply.choices[0].finish_reason) == (PLAIN, "stop")
        assert [use.answer_id for use in memory.opened.store.uses()] == ["run-7"]


# -- tools -------------------------------------------------------------------------------------------------------------


def test_the_parser_is_the_templates_or_the_callers(memory: LatentMemory) -> None:
    assert ChatModel(memory).parser is None
    chosen = ChatModel(memory, "mistral").parser
    assert chosen is not None and chosen.mark == "[TOOL_CALLS]"
    with pytest.raises(InputError, match="parser='qwen'"):
        ChatModel(memory, "qwen").reply(SUM, tools=[CALC])

    def own(text: str) -> Parsed:
        return Parsed("said", (ToolCall(name="own", arguments={"text": text}),))

    [choice] = ChatModel(memory, own).reply(SUM, tools=[CALC]).choices
    assert (choice.text, choice.tool_calls[0].arguments) == ("said", {"text": f"#### {PLAIN}"})
    # Without tools nothing is a call.
    assert text_of(ChatModel(memory, own).reply(SUM)) == f"#### {PLAIN}"


def test_tools_that_a_template_cannot_show_are_refused(memory: LatentMemory, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="pass parser="):
        ChatModel(memory).reply(SUM, tools=[CALC])
    with tiny_memory(tmp_path / "tiny") as ignorant, pytest.raises(InputError, match="knows no tools"):
        ChatModel(ignorant, "hermes").reply(QUESTION, tools=[CALC])


@pytest.mark.parametrize("tool", ["calc", 5, print, {}, {"function": "calc"}, {"type": "function", "function": {}}])
def test_what_is_no_schema_of_a_tool_is_refused_by_value(sandbox: LatentMemory, tool: Any) -> None:
    for call in (ChatModel(sandbox).reply, ChatModel(sandbox).stream):
        with pytest.raises(InputError, match="no JSON schema of a function"):
            call(QUESTIONS[0], tools=[CALC, tool])


def test_a_choice_of_tool_that_cannot_be_granted_is_refused(sandbox: LatentMemory) -> None:
    for chat, choice, words in (
        (ChatModel(sandbox), "search", r"tool_choice='search'.*\['calc'\]"),
        (ChatModel(sandbox, "mistral"), "any", "cannot be begun"),
        (ChatModel(sandbox, Parsed), "calc", "cannot be begun"),
    ):
        with pytest.raises(InputError, match=words):
            chat.reply(QUESTIONS[0], tools=[CALC], tool_choice=choice)
    with pytest.raises(InputError, match="none of the tools given"):
        ChatModel(sandbox).stream(QUESTIONS[0], tool_choice="calc")


def calculated(call: ToolCall) -> str:
    """The value of `left operator right`."""
    assert call.name == "calc" and set(call.arguments) == {"expression"}
    expression = call.arguments["expression"]
    operator = next(sign for sign in "+-*/" if sign in expression)
    left, right = (int(part) for part in expression.split(operator))
    return str({"+": left + right, "-": left - right, "*": left * right, "/": left // max(1, right)}[operator])


def worked(chat: ChatModel, question: str, seed: int, **given: Any) -> tuple[list[dict[str, Any]], Reply]:
    """The messages of an agent that calculates what it is told to, and the model's last reply."""
    messages: list[dict[str, Any]] = [{"role": "user", "content": question}]
    for _ in range(8):
        reply = chat.reply(messages, tools=[CALC], seed=seed, **given)
        [choice] = reply.choices
        if not choice.tool_calls:
            return messages, reply
        called = [call.templated() for call in choice.tool_calls]
        messages.append({"role": "assistant", "content": choice.text, "tool_calls": called})
        messages += [
            {"role": "tool", "content": calculated(call), "tool_call_id": call.id} for call in choice.tool_calls
        ]
    raise AssertionError(f"The model calls and calls: {messages!r}")


def test_the_embedded_model_calls_calc_and_goes_on_from_its_result(sandbox: LatentMemory) -> None:
    chat = ChatModel(sandbox)
    messages: list[dict[str, Any]] = []
    for question in QUESTIONS[:3]:
        messages, reply = worked(chat, question, seed=0)
        results = [message["content"] for message in messages if message["role"] == "tool"]
        assert len(results) >= 2 and reply.choices[0].finish_reason == "stop"
        assert reply.answer.answer == results[-1] and reply.answer.question == question
    # The result is read and not guessed: with another one the answer is another.
    messages[-1] = {**messages[-1], "content": "777"}
    assert chat.reply(messages, tools=[CALC], seed=0).answer.answer == "777"


def test_an_agents_turns_are_read_with_its_reference_and_the_last_one_is_recorded(sandbox: LatentMemory) -> None:
    chat = ChatModel(sandbox)
    reference = chat.refer(QUESTIONS[0])
    messages, reply = worked(chat, QUESTIONS[0], 0, latent=reference, answer_id="run-7")
    assert len(messages) > 1 and reply.answer.latent_ids == (ID,)
    # The Latent is near by the question, whatever was said since.
    assert reply.answer.similarity == pytest.approx(1.0, abs=1e-4)
    [use] = sandbox.opened.store.uses(answer_id="run-7")
    assert (use.latent_id, use.problem_hash) == (ID, Problem(question=QUESTIONS[0]).hash)


@pytest.mark.parametrize("choice", ["any", "required", "calc"])
def test_a_tool_that_must_be_called_is_called(sandbox: LatentMemory, choice: str) -> None:
    other: Mapping[str, Any] = {"name": "search"}
    tools = [CALC, other] if choice == "calc" else [CALC]
    for question in QUESTIONS:
        [said] = ChatModel(sandbox).reply(question, tools=tools, tool_choice=choice, seed=1).choices
        [call] = said.tool_calls
        assert (call.name, said.text, said.finish_reason) == ("calc", "", "tool_calls") and calculated(call)


def test_calls_marked_by_a_special_token_are_read_though_no_text_shows_it(tmp_path: Path) -> None:
    # Mistral's mark is a special token, which texts leave out; so is <user> here, and a text of 2 stands behind it.
    template = "{% if tools %}[TOOL_CALLS]{% endif %}" + CHAT_TEMPLATE

    @dataclass(frozen=True)
    class Marking(FakeModel):
        def written(self, rollout: Rollout) -> str:
            return rollout.text.replace("#### [", "[TOOL_CALLS][").replace("#### 2", "<user>#### 2")

    listed = '[{"name": "calc", "arguments": {"expression": "1+1"}}]'
    answers = {SUM: (listed, listed), SUMS[1]: ("2", "2")}
    with fake_memory(tmp_path, model=Marking(answers, chat_template=template)) as memory:
        reply = ChatModel(memory).reply(SUM, tools=[CALC])
        assert [call.name for call in reply.choices[0].tool_calls] == ["calc"]
        assert (text_of(reply), reply.answer.text, reply.answer.answer) == ("", "", None)
        final = ChatModel(memory).reply(SUMS[1], tools=[CALC])
        assert (text_of(final), final.answer.answer) == ("#### 2", "2")


def test_a_route_that_compares_takes_no_call_for_an_answer(tmp_path: Path) -> None:
    # The plain model calls a tool, the Latent answers: an answer is better than none.
    given: dict[str, Any] = {"model": calling(CALLED, OTHER), "config": Config(route=RouteConfig(mode="agree"))}
    with fake_memory(tmp_path, **given) as memory:
        reply = ChatModel(memory).reply(SUM, latent=put(memory, constant(), SUM), tools=[CALC])
    assert (reply.answer.answer, reply.answer.latent_ids) == (OTHER, (ID,))
    assert "The plain model gives no answer." in reply.answer.reason


def test_with_tool_choice_none_the_model_sees_no_tools(sandbox: LatentMemory) -> None:
    chat = ChatModel(sandbox)
    unseen = chat.reply(QUESTIONS[0], tools=[CALC], tool_choice="none", seed=1)
    assert unseen.choices == chat.reply(QUESTIONS[0], seed=1).choices
    assert unseen.choices != chat.reply(QUESTIONS[0], tools=[CALC], seed=1).choices
