"""Any ONNX model as an embedder, by the ONNX runtime."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, get_args

import numpy as np

from hotfill.embedders.weights import file_revision
from hotfill.errors import ConfigError, EmbedError, ShapeError
from hotfill.extras import need
from hotfill.types import Metric, ModelId
from hotfill.vectors import as_promised

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from numpy.typing import NDArray

    from hotfill.types import Vectors

    Inputs: TypeAlias = Mapping[str, NDArray[Any]]

Pooling: TypeAlias = Literal["none", "mean", "first"]


class OnnxEmbedder:
    """Prepares a batch of contents, and runs the model on it.

    path: the .onnx file.
    name: of the model id; revision: by default a hash of the file.
    prepare: makes the model's inputs of some contents, by name; by default the contents are arrays
        for the only input, all of its shape without the first axis. `TextInputs` prepares texts.
    preprocessing: what `prepare` does, in words, for the model id.
    output: the name of the output that holds the vectors; by default the first.
    pooling: of an output (n, tokens, dimension): "mean" over the tokens that the input
        `attention_mask` marks, or the "first" token; "none" for an output (n, dimension).
    threads: of one run; by default as many as there are cores.
    Raises ConfigError when the model cannot be loaded or does not say its dimension.
    """

    def __init__(
        self,
        path: Path,
        *,
        name: str,
        revision: str | None = None,
        prepare: Callable[[Sequence[Any]], Inputs] | None = None,
        preprocessing: str = "",
        output: str | None = None,
        pooling: Pooling = "none",
        metric: Metric = "cosine",
        normalised: bool = True,
        batch_size: int = 64,
        threads: int | None = None,
        providers: Sequence[str] = ("CPUExecutionProvider",),
    ) -> None:
        runtime: Any = need("onnxruntime", "onnx")
        if pooling not in get_args(Pooling):
            raise ConfigError(f"pooling: expected none, mean or first, got {pooling!r}")
        data = path.with_name(f"{path.name}.data")  # where large weights are kept
        revision = revision or file_revision(path, *([data] if data.exists() else []))
        options = runtime.SessionOptions()
        options.log_severity_level = 3  # errors are raised; advice is not for our users
        if threads is not None:
            options.intra_op_num_threads = threads
        try:
            self._session = runtime.InferenceSession(
                str(path), sess_options=options, providers=list(providers)
            )
        except Exception as error:  # its errors share no base but this
            raise ConfigError(f"{path} cannot be loaded as an ONNX model: {error}") from error
        outputs = {each.name: each for each in self._session.get_outputs()}
        self._output = output or next(iter(outputs))
        if self._output not in outputs:
            raise ConfigError(f"{path}: output {output!r} is not among {', '.join(outputs)}")
        dimension = outputs[self._output].shape[-1]
        if not isinstance(dimension, int):
            raise ConfigError(f"{path}: the output {self._output} does not say its dimension")
        if prepare is None and len(self._session.get_inputs()) != 1:
            names = ", ".join(each.name for each in self._session.get_inputs())
            raise ConfigError(f"{path}: the model has several inputs ({names}); give `prepare`")
        self._prepare = prepare or self._stacked
        self._pooling = pooling
        self._batch_size = batch_size
        notes = {"prepare": preprocessing, "pooling": pooling}
        self._model_id = ModelId(
            name, revision, dimension, metric, normalised, json.dumps(notes, sort_keys=True)
        )

    @property
    def model_id(self) -> ModelId:
        """The space of the model's vectors."""
        return self._model_id

    def __call__(self, contents: Sequence[Any], /) -> Vectors:
        """Embed contents: float32 (n, dimension).

        Raises EmbedError naming the rows that do not fit the model, ShapeError when the output has
        another shape than the settings say.
        """
        vectors = np.empty((len(contents), self._model_id.dimension), dtype=np.float32)
        for begin in range(0, len(contents), self._batch_size):
            some = contents[begin : begin + self._batch_size]
            try:
                vectors[begin : begin + len(some)] = self._embed(some)
            except EmbedError as error:
                rows = [begin + row for row in error.rows]
                raise EmbedError(str(error), rows=rows, retryable=error.retryable) from error
        return vectors

    def _embed(self, contents: Sequence[Any]) -> Vectors:
        inputs = self._prepare(contents)
        wanted = {each.name for each in self._session.get_inputs()}
        try:
            (made,) = self._session.run(
                [self._output], {key: value for key, value in inputs.items() if key in wanted}
            )
        except Exception as error:  # its errors share no base but this
            raise EmbedError(f"{self._model_id}: {error}", retryable=False) from error
        if self._pooling != "none" and made.ndim == 3:
            made = made[:, 0] if self._pooling == "first" else _mean(made, inputs)
        if made.shape != (len(contents), self._model_id.dimension):
            raise ShapeError(
                f"{self._model_id}: expected ({len(contents)}, {self._model_id.dimension}), the "
                f"model gave {made.shape}; its `pooling` is {self._pooling!r}"
            )
        return as_promised(made, self._model_id)

    def _stacked(self, contents: Sequence[Any]) -> Inputs:
        (first,) = self._session.get_inputs()
        arrays = [np.asarray(content) for content in contents]
        shape = [size if isinstance(size, int) else None for size in first.shape[1:]]
        bad = [
            row
            for row, array in enumerate(arrays)
            if array.dtype.kind not in "fiub"
            or array.ndim != len(shape)
            or any(want not in (None, size) for want, size in zip(shape, array.shape, strict=True))
            or array.shape != arrays[0].shape
        ]
        if bad:
            raise EmbedError(
                f"{self._model_id}: expected arrays of shape {tuple(shape)}, got "
                f"{arrays[bad[0]].dtype} {arrays[bad[0]].shape} in row {bad[0]}",
                rows=bad,
                retryable=False,
            )
        kind = {
            "tensor(float)": np.float32,
            "tensor(double)": np.float64,
            "tensor(float16)": np.float16,
            "tensor(uint8)": np.uint8,
            "tensor(int64)": np.int64,
        }.get(first.type, np.float32)
        return {first.name: np.stack(arrays).astype(kind)}


class TextInputs:
    """Makes the inputs of a text model: ids, mask and types of the tokens, int64 (n, tokens).

    tokenizer: the tokenizer.json of the model. max_tokens: longer texts are cut off.
    """

    def __init__(self, tokenizer: Path, *, max_tokens: int = 256) -> None:
        library: Any = need("tokenizers", "onnx")
        try:
            self._tokenizer = library.Tokenizer.from_file(str(tokenizer))
        except Exception as error:  # its errors are plain Exceptions
            raise ConfigError(f"{tokenizer} cannot be read as a tokenizer: {error}") from error
        self._tokenizer.enable_truncation(max_tokens)
        self._tokenizer.enable_padding()

    def __call__(self, contents: Sequence[Any]) -> Inputs:
        """Tokenise texts. Raises EmbedError naming what is no text."""
        bad = [row for row, text in enumerate(contents) if not isinstance(text, str)]
        if bad:
            raise EmbedError("expected texts", rows=bad, retryable=False)
        encoded = self._tokenizer.encode_batch(list(contents))
        return {
            "input_ids": np.array([each.ids for each in encoded], dtype=np.int64),
            "attention_mask": np.array([each.attention_mask for each in encoded], dtype=np.int64),
            "token_type_ids": np.array([each.type_ids for each in encoded], dtype=np.int64),
        }


def _mean(tokens: NDArray[np.floating], inputs: Inputs) -> NDArray[np.floating]:
    """Average over the tokens that are no padding, as sentence-transformers does."""
    mask = inputs.get("attention_mask", np.ones(tokens.shape[:2], dtype=np.int64))
    weights = mask[:, :, None].astype(tokens.dtype)
    mean: NDArray[np.floating] = (tokens * weights).sum(axis=1) / np.maximum(
        weights.sum(axis=1), 1e-9
    )
    return mean


def from_options(
    *,
    path: str,
    name: str,
    tokenizer: str | None = None,
    max_tokens: int = 256,
    **settings: Any,
) -> OnnxEmbedder:
    """Make an embedder from the options of a configuration file.

    tokenizer, max_tokens: for models of texts, see `TextInputs`; without, contents are arrays.
    settings: the rest of `OnnxEmbedder`. Raises ConfigError.
    """
    prepare, preprocessing = None, settings.pop("preprocessing", "")
    if tokenizer is not None:
        file = Path(tokenizer).expanduser()
        prepare = TextInputs(file, max_tokens=max_tokens)
        preprocessing = f"tokenizer {file_revision(file)}, at most {max_tokens} tokens"
    try:
        return OnnxEmbedder(
            Path(path).expanduser(),
            name=name,
            prepare=prepare,
            preprocessing=preprocessing,
            **settings,
        )
    except TypeError as error:
        raise ConfigError(f"options of the ONNX embedder: {error}") from error
