"""`LatentChatMessageHistory`: on disk, one conversation for each session of each namespace."""

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from langchain_core.messages import AIMessage, HumanMessage, SystemMessage, ToolMessage
from langchain_latent_memory import LatentChatMessageHistory

from latent_memory_plugin import InputError

NAMES = [
    "a b",
    "../up",
    "x/y\\z",
    "'; DROP TABLE messages; --",
    "größe 名前 🦊",
    "a" * 5000,
    "nul\x00byte",
    "%",
    "_",
]


def texts(history: LatentChatMessageHistory) -> list[str]:
    return [str(one.text) for one in history.messages]


def test_what_was_added_is_there_for_the_next_object_in_order(tmp_path: Path) -> None:
    LatentChatMessageHistory("1", root=tmp_path).add_messages([HumanMessage("a"), AIMessage("b")])
    LatentChatMessageHistory("1", root=tmp_path).add_user_message("c")
    history = LatentChatMessageHistory("1", root=tmp_path)
    assert texts(history) == ["a", "b", "c"]
    assert [one.type for one in history.messages] == ["human", "ai", "human"]


def test_messages_come_back_whole(tmp_path: Path) -> None:
    call: Any = {"name": "calc", "args": {"expression": "3+4"}, "id": "1", "type": "tool_call"}
    given = [
        SystemMessage("Be brief."),
        HumanMessage("a", additional_kwargs={"latent": {"ids": ["1"], "hash": "2"}}, name="Ann", id="m1"),
        HumanMessage([{"type": "text", "text": "b"}]),
        AIMessage("", tool_calls=[call], response_metadata={"latent": {"ids": []}}),
        ToolMessage("7", tool_call_id="1", name="calc", status="error"),
        HumanMessage("lone \ud800 and 🦊\x00"),
    ]
    history = LatentChatMessageHistory("1", root=tmp_path)
    history.add_messages(given)
    assert history.messages == given


def test_by_default_it_lies_in_the_default_root(elsewhere: Path) -> None:
    LatentChatMessageHistory("1").add_user_message("a")
    assert (elsewhere / "langchain_history.sqlite").is_file()
    assert texts(LatentChatMessageHistory("1", root=elsewhere)) == ["a"]


def test_a_session_of_the_same_name_in_another_namespace_is_another_one(tmp_path: Path) -> None:
    mine, yours = (LatentChatMessageHistory("1", namespace=one, root=tmp_path) for one in ("mine", "yours"))
    mine.add_user_message("a")
    yours.add_user_message("b")
    assert (texts(mine), texts(yours)) == (["a"], ["b"])


def test_clear_forgets_one_session_alone(tmp_path: Path) -> None:
    one, other = (LatentChatMessageHistory(name, root=tmp_path) for name in ("1", "2"))
    spaced = LatentChatMessageHistory("1", namespace="mine", root=tmp_path)
    for history in (one, other, spaced):
        history.add_user_message("a")
    one.clear()
    assert (texts(one), texts(other), texts(spaced)) == ([], ["a"], ["a"])


@pytest.mark.parametrize("name", NAMES, ids=range(len(NAMES)))
def test_any_name_of_a_session_is_its_own(tmp_path: Path, name: str) -> None:
    LatentChatMessageHistory("plain", root=tmp_path).add_user_message("b")
    LatentChatMessageHistory(name, root=tmp_path).add_user_message("a")
    assert texts(LatentChatMessageHistory(name, root=tmp_path)) == ["a"]
    assert [one.name for one in tmp_path.iterdir()] == ["langchain_history.sqlite"]


@pytest.mark.parametrize("name", ["", None, 5, "lone \ud800"])
@pytest.mark.parametrize("which", ["session_id", "namespace"])
def test_what_names_nothing_is_refused(tmp_path: Path, which: str, name: Any) -> None:
    with pytest.raises(InputError, match=f"{which}="):
        LatentChatMessageHistory(**{"session_id": "1", "root": tmp_path, which: name})


async def test_the_async_methods_do_the_same(tmp_path: Path) -> None:
    history = LatentChatMessageHistory("1", root=tmp_path)
    await history.aadd_messages([HumanMessage("a")])
    assert [one.text for one in await history.aget_messages()] == ["a"]
    await history.aclear()
    assert await history.aget_messages() == []


def test_messages_that_cannot_be_kept_are_added_not_even_in_part(tmp_path: Path) -> None:
    history = LatentChatMessageHistory("1", root=tmp_path)
    with pytest.raises(TypeError):
        history.add_messages([HumanMessage("a"), HumanMessage("b", additional_kwargs={"x": object()})])
    assert texts(history) == []


def test_threads_lose_no_message_and_keep_their_own_order(tmp_path: Path) -> None:
    history = LatentChatMessageHistory("1", root=tmp_path)

    def write(name: int) -> None:
        for number in range(10):
            history.add_messages([HumanMessage(f"{name} {number} a"), AIMessage(f"{name} {number} b")])

    with ThreadPoolExecutor(4) as threads:
        list(threads.map(write, range(4)))
    found = texts(history)
    assert len(found) == 80
    for name in range(4):
        own = [one for one in found if one.startswith(f"{name} ")]
        assert own == [f"{name} {number} {half}" for number in range(10) for half in "ab"]
    assert all(found[number][:-1] == found[number + 1][:-1] for number in range(0, 80, 2))  # turns stay together


WRITER = """
import sys
from langchain_latent_memory import LatentChatMessageHistory
history = LatentChatMessageHistory("1", root=sys.argv[1])
print("ready", flush=True)
sys.stdin.readline()
for number in range(50):
    history.add_user_message(f"{sys.argv[2]} {number}")
"""


def test_two_processes_write_at_once_and_lose_nothing(tmp_path: Path) -> None:
    command = [sys.executable, "-c", WRITER, str(tmp_path)]
    pipes: Any = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    writers = [subprocess.Popen([*command, name], **pipes) for name in "ab"]
    assert [one.stdout.readline() for one in writers if one.stdout] == ["ready\n"] * 2
    for one in writers:
        assert one.stdin
        one.stdin.write("go\n")
        one.stdin.close()
    assert [one.wait() for one in writers] == [0, 0]
    for one in writers:
        assert one.stdout
        one.stdout.close()
    found = texts(LatentChatMessageHistory("1", root=tmp_path))
    assert [one for one in found if one[0] == "a"] == [f"a {number}" for number in range(50)]
    assert [one for one in found if one[0] == "b"] == [f"b {number}" for number in range(50)]
    assert len(found) == 100
