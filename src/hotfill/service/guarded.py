"""An embedder that fails only in our words, whatever it raises.

A live request brings contents from outside, so a failure has to say whose fault it is.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from hotfill.errors import EmbedError, HotfillError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hotfill.types import Embedder, ModelId, Vectors

# What Python code raises when the content is not what it reads; all else is the model's trouble.
_OF_THE_CONTENT = (ValueError, TypeError, KeyError, IndexError, AttributeError)


@dataclass(frozen=True, slots=True)
class Guarded:
    """Wraps an embedder."""

    embedder: Embedder

    @property
    def model_id(self) -> ModelId:
        """The space of the embedder's vectors."""
        return self.embedder.model_id

    def __call__(self, contents: Sequence[Any]) -> Vectors:
        """Embed. Raises EmbedError; retryable unless the contents are at fault."""
        try:
            return self.embedder(contents)
        except HotfillError:
            raise
        except Exception as error:
            at_fault = isinstance(error, _OF_THE_CONTENT)
            what = "cannot read this content" if at_fault else "failed"
            raise EmbedError(
                f"the embedder of {self.model_id.name} {what} ({type(error).__name__})",
                retryable=not at_fault,
            ) from error
