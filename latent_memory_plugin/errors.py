"""Every error this library raises on purpose.

    LatentMemoryError
    ├── InputError            a question, answer, count or file that cannot be used (also a ValueError)
    ├── ConfigError           a setting that does not exist or is out of range (also a ValueError)
    ├── ModelError            the language model cannot do what was asked
    │   ├── ModelLoadError        it could not be loaded
    │   ├── ContextLengthError    prompt, Latent and new tokens do not fit its context
    │   └── WrongModelError       a Latent or a root belongs to another model
    ├── RewardError           a reward or a verifier of the caller's failed or gave no usable number
    ├── DistilError           learning a Latent broke off (a value was not finite, nothing to learn from)
    ├── PluginError           a form, objective, engine, key or executor that was plugged in raised
    ├── CancelledError        what was under way was cancelled; what had been sampled is kept
    ├── WorkerError           the background worker is paused, held up or not done in time
    └── StoreError            the disk cannot do what was asked
        ├── StoreLockedError      another process owns the root
        ├── StoreWriteError       the root cannot be written
        ├── ReadOnlyError         the store was opened with read_only=True
        ├── OutdatedError         a file of an older version, which read_only=True may not migrate
        ├── IndexUnavailableError the Chroma server that holds the index does not answer
        ├── CorruptError          a stored file is not what was written
        └── NotFoundError         no Latent or episode has that id (also a KeyError)

Every message is one or two sentences: the value, what was expected, what to do.
"""


class LatentMemoryError(Exception):
    """Base of every error raised by this library."""

    def __str__(self) -> str:
        return " ".join(str(argument) for argument in self.args)


class InputError(LatentMemoryError, ValueError):
    """A question, answer, count or file that cannot be used."""


class ConfigError(LatentMemoryError, ValueError):
    """A setting that does not exist or is out of range."""


class ModelError(LatentMemoryError):
    """The language model cannot do what was asked."""


class ModelLoadError(ModelError):
    """The language model could not be loaded."""


class ContextLengthError(ModelError):
    """Prompt, Latent and new tokens together exceed the model's context."""


class WrongModelError(ModelError):
    """A Latent or a root was made by another model."""


class RewardError(LatentMemoryError):
    """A reward or a verifier of the caller's failed or gave no usable number."""


class DistilError(LatentMemoryError):
    """Learning a Latent broke off."""


class PluginError(LatentMemoryError):
    """A form, objective, engine, key or executor that was plugged in raised."""


class CancelledError(LatentMemoryError):
    """What was under way was cancelled; what had been sampled is kept."""


class WorkerError(LatentMemoryError):
    """The background worker is paused, held up or not done in time."""


class StoreError(LatentMemoryError):
    """The disk cannot do what was asked."""


class StoreLockedError(StoreError):
    """Another process owns the root."""


class StoreWriteError(StoreError):
    """The root cannot be written."""


class ReadOnlyError(StoreError):
    """The store was opened with `read_only=True`."""


class OutdatedError(StoreError):
    """A file of an older version cannot be read without being migrated."""


class IndexUnavailableError(StoreError):
    """The Chroma server that holds the index does not answer."""


class CorruptError(StoreError):
    """A stored file is not what was written."""


class NotFoundError(StoreError, KeyError):
    """No Latent or episode has that id."""
