"""Inputs of any form as tables of standardized columns, in several views."""

import zlib

import numpy as np

# Columns to which more than twice as many are projected at random, and words that are counted.
_MOST_COLUMNS, _WORDS = 128, 256


def views_of(inputs, rng):
    """Tables of standardized columns: the values, and what does not depend on their places."""
    values, counts = [], []
    for leaf in inputs:
        if leaf.dtype.kind not in "biuf":
            counts.append(_word_counts(leaf))
            continue
        leaf = leaf.astype("float64")
        table = leaf.reshape(len(leaf), -1)
        if _are_tokens(table):
            counts.append(_token_counts(table))
        elif leaf.ndim >= 3 and leaf.shape[1] >= 8:
            # What of a wave does not depend on where it begins.
            waves = np.abs(np.fft.rfft(leaf, axis=1))
            counts.append(waves.reshape(len(leaf), -1))
        values.append(table)
    views = []
    for parts in (values, counts):
        if parts:
            table = standardized(np.concatenate(parts, axis=1))
            table = table[:, np.abs(table).max(axis=0) > 0]
            if table.shape[1] > 2 * _MOST_COLUMNS:
                table = table @ rng.normal(size=(table.shape[1], _MOST_COLUMNS))
                table = standardized(table)
            if table.shape[1]:
                views.append(table.astype("float32"))
    return views


def _are_tokens(table):
    if table.shape[1] < 4 or table.min() < 0 or table.max() < 10:
        return False
    return bool(np.all(table == np.round(table)))


def _token_counts(table):
    values, codes = np.unique(table, return_inverse=True)
    codes = codes.reshape(table.shape)
    frequent = np.argsort(-np.bincount(codes.ravel()), kind="stable")[:_WORDS]
    place = np.full(len(values), -1)
    place[frequent] = np.arange(len(frequent))
    return _counted(place[codes], len(frequent))


def _word_counts(leaf):
    texts = [" ".join(map(_as_text, row)) for row in leaf.reshape(len(leaf), -1).tolist()]
    counts = np.zeros((len(texts), _WORDS))
    for row, text in enumerate(texts):
        for word in text.lower().split():
            counts[row, zlib.crc32(word.encode()) % _WORDS] += 1
    return counts


def _as_text(value):
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


def _counted(places, size):
    counts = np.zeros((len(places), size))
    rows = np.repeat(np.arange(len(places)), places.shape[1])
    flat = places.ravel()
    np.add.at(counts, (rows[flat >= 0], flat[flat >= 0]), 1)
    return counts


def standardized(table):
    """Columns with mean 0 and deviation 1; constant ones become 0."""
    deviation = table.std(axis=0)
    flat = deviation <= 1e-7 * np.abs(table).max(axis=0, initial=0)
    return np.where(flat, 0.0, (table - table.mean(axis=0)) / np.where(flat, 1.0, deviation))
