"""Language labels of whatlang for texts, one by one."""

import json

import whatlang


def prepare(given, folder):
    return json.loads(given.read_text())


def label(text):
    try:
        return whatlang.detect(text).lang
    except ValueError:  # it finds none
        return None


def labels(texts):
    return [label(text) for text in texts]


def work(value):
    labels(value)


def outcome(value):
    return labels(value)
