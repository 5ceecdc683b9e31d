"""Every Term once more: double loops over float64, no vectorisation, no cleverness."""

from __future__ import annotations

import math
from collections.abc import Sequence

Vector = Sequence[float]


def unit(vector: Vector) -> list[float]:
    length = math.sqrt(sum(x * x for x in vector))
    return [x / length for x in vector]


def dot(a: Vector, b: Vector) -> float:
    return sum(x * y for x, y in zip(a, b, strict=True))


def cosine(a: Vector, b: Vector) -> float:
    return dot(unit(a), unit(b))


def distance(a: Vector, b: Vector) -> float:
    return math.sqrt(sum((x - y) ** 2 for x, y in zip(a, b, strict=True)))


def mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else 0.0


def weighted(values: Sequence[float], weights: Sequence[float]) -> float:
    return sum(v * w for v, w in zip(values, weights, strict=True)) / sum(weights)


def cosine_softmax(vectors, anchors, rows, valid, scale, margin=0.0, kind="cosine"):
    """Mean of -log softmax over the items with a valid anchor."""
    losses = []
    for vector, row in zip(vectors, rows, strict=True):
        if row < 0 or not valid[row]:
            continue
        logits = []
        for number, anchor in enumerate(anchors):
            if not valid[number]:
                continue
            score = cosine(vector, anchor)
            if number == row:
                if kind == "cosine":
                    score -= margin
                elif math.acos(score) + margin <= math.pi:
                    score = math.cos(math.acos(score) + margin)
                else:
                    score -= margin * math.sin(margin)
                right = score * scale
            logits.append(score * scale)
        losses.append(-right + math.log(sum(math.exp(x) for x in logits)))
    return mean(losses)


def dot_softmax(vectors, anchors, bias, rows):
    losses = []
    for vector, row in zip(vectors, rows, strict=True):
        if row < 0:
            continue
        logits = [dot(vector, anchor) + b for anchor, b in zip(anchors, bias, strict=True)]
        losses.append(-logits[row] + math.log(sum(math.exp(x) for x in logits)))
    return mean(losses)


def opposed(labels, i, j):
    if labels is None:
        return i != j
    return labels[i] >= 0 and labels[j] >= 0 and labels[i] != labels[j]


def item_contrast(new, old, labels, temperature, hardest=None, new_negatives=True):
    losses = []
    for i in range(len(new)):
        others = [j for j in range(len(new)) if opposed(labels, i, j)]
        if not others:
            continue
        to_old = sorted((cosine(new[i], old[j]) for j in others), reverse=True)[:hardest]
        to_new = sorted((cosine(new[i], new[j]) for j in others), reverse=True)[:hardest]
        negatives = to_old + (to_new if new_negatives else [])
        right = math.exp(cosine(new[i], old[i]) / temperature)
        wrong = sum(math.exp(score / temperature) for score in negatives)
        losses.append(-math.log(right / (right + wrong)))
    return mean(losses)


def class_contrast(new, old, labels, temperature):
    losses = []
    for i in range(len(new)):
        others = [j for j in range(len(new)) if opposed(labels, i, j)]
        if not others:
            continue
        wrong = sum(math.exp(cosine(new[i], old[j]) / temperature) for j in others)
        each = []
        for j in range(len(new)):
            same = i == j or (labels is not None and labels[i] >= 0 and labels[i] == labels[j])
            if same:
                right = math.exp(cosine(new[i], old[j]) / temperature)
                each.append(-math.log(right / (right + wrong)))
        losses.append(mean(each))
    return mean(losses)


def stationary_contrast(new, old, labels, sharpness):
    losses = []
    for i in range(len(new)):
        others = [j for j in range(len(new)) if opposed(labels, i, j)]
        if not others:
            continue
        wrong = sum(math.exp(sharpness * cosine(old[i], new[j])) for j in others)
        losses.append(-sharpness * cosine(old[i], new[i]) + math.log(wrong))
    return mean(losses)


def regression(asking, answering):
    return mean([distance(unit(a), unit(b)) ** 2 for a, b in zip(asking, answering, strict=True)])


def cosine_boundary(new, anchors, rows, lowest):
    return mean(
        [
            max(0.0, lowest[row] - cosine(vector, anchors[row]))
            for vector, row in zip(new, rows, strict=True)
            if row >= 0
        ]
    )


def elastic_boundary(new, anchors, rows, radius, count, elastic, threshold):
    outside = []
    for vector, row in zip(new, rows, strict=True):
        if row < 0 or count[row] < 2:
            continue
        r = radius[row]
        slack = abs(r - threshold) / (1 + math.exp(-elastic[row]))
        bound = r + slack if r < threshold else r - slack
        excess = distance(unit(vector), anchors[row]) - bound
        if excess > 0:
            outside.append(excess)
    return mean(outside)


def anchor_alignment(head, anchors, rows):
    """rows: the anchor of each head row, or -1."""
    squares = [
        (x - y) ** 2
        for vector, row in zip(head, rows, strict=True)
        if row >= 0
        for x, y in zip(unit(vector), unit(anchors[row]), strict=True)
    ]
    return mean(squares)


def triplet(new, old, labels, margin):
    """Mean over violating triplets: anchor new, positive and negative old, Euclidean."""
    losses = []
    for i in range(len(new)):
        for p in range(len(new)):
            for n in range(len(new)):
                if labels[i] == labels[p] and labels[i] != labels[n]:
                    near = distance(unit(new[i]), unit(old[p]))
                    far = distance(unit(new[i]), unit(old[n]))
                    losses.append(max(0.0, near - far + margin))
    return mean([loss for loss in losses if loss > 0])


def refined_mean(old, new, propagation, temperature, rounds=2000):
    """The limit of V <- p A V + (1 - p) V0 by doing it, A row-stochastic without its diagonal."""
    start = [unit(v) for v in old]
    if len(start) == 1:
        return start[0]
    matrix = []
    for i in range(len(new)):
        row = [
            0.0 if i == j else math.exp(cosine(new[i], new[j]) / temperature)
            for j in range(len(new))
        ]
        matrix.append([x / sum(row) for x in row])
    now = start
    for _ in range(rounds):
        now = [
            [
                propagation * sum(matrix[i][j] * now[j][d] for j in range(len(now)))
                + (1 - propagation) * start[i][d]
                for d in range(len(start[0]))
            ]
            for i in range(len(now))
        ]
    return [mean([v[d] for v in now]) for d in range(len(start[0]))]
