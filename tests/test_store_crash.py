"""A full disk, and the instants between the truth and the index, cost nothing that was acknowledged."""

from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from store_builders import ENCODER, MODEL, episode, key, latent, near, tensor, use

from latent_memory_plugin import errors
from latent_memory_plugin.records import Standing
from latent_memory_plugin.store import Store
from latent_memory_plugin.store.journal import episode_row


@contextmanager
def full_disk() -> Generator[None, None, None]:
    """No file of this process may grow beyond a kilobyte."""
    resource = pytest.importorskip("resource")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1024, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_full_disk_is_an_error_that_names_the_path_and_costs_nothing_written_before(tmp_path: Path) -> None:
    with Store.open(tmp_path, "default", MODEL, ENCODER) as store:
        store.commit(first := episode("first"), key())
        store.put(kept := latent(), tensor(), key())
        with full_disk():
            with pytest.raises(errors.StoreWriteError, match=r"latents.*free some space"):
                store.put(latent(), tensor(1), key(1.0))
            with pytest.raises(errors.StoreWriteError, match=r"journal\.sqlite"):
                store.commit(episode("second"), key(1.0))
            with pytest.raises(errors.StoreWriteError, match=r"journal\.sqlite"):
                store.update(first.model_copy(update={"state": "learnt"}))
            with pytest.raises(errors.StoreWriteError, match=r"journal\.sqlite"):
                store.stand(Standing(latent_id=kept.id, state="suspended"))
            with pytest.raises(errors.StoreWriteError, match=r"journal\.sqlite"):
                store.record_uses([use(f"a{number}", kept.id) for number in range(100)])
            assert (store.standing(kept.id).state, store.uses()) == ("live", [])
            assert store.episode(first.id) == first
            np.testing.assert_array_equal(store.tensors(kept.id)["latent"], tensor())
        assert (list(store.episodes()), list(store.latents())) == ([first], [kept])
        assert not list(tmp_path.rglob("*.tmp"))
        store.commit(episode("third"), key(1.0))
        store.record_uses([use("a", kept.id)])
    with Store.open(tmp_path, "default", MODEL, ENCODER) as store:
        assert [one.question for one in store.episodes()] == ["first", "third"]


def test_what_is_written_before_the_index_is_found_after_the_next_opening(tmp_path: Path) -> None:
    """The instant between the truth and the index, in both directions."""
    with Store.open(tmp_path, "default", MODEL, ENCODER) as store:
        store.put(deleted := latent(), tensor(), key())
        store._journal.add(episode_row(one := episode()), ENCODER, key())
        store._files.write(written := latent(), {"latent": tensor()}, key())
        store._files.delete([deleted.id])
        (store._files.folder / f"{'0' * 32}.safetensors.tmp").write_bytes(b"half")
    with Store.open(tmp_path, "default", MODEL, ENCODER) as store:
        assert store.nearest(key(), 9) == [(written.id, 1.0)]
        assert near(store, key(), 9) == [(one, 1.0)]
        assert [path.stem for path in store._files.folder.iterdir()] == [written.id]
