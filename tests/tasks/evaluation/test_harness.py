"""Scores through the harness against forward passes done by hand, and against the harness's own Hugging Face model."""

from __future__ import annotations

import math
import socket
import sys
import types
from pathlib import Path
from typing import Any

import pytest
import tokenizers
import torch
from lm_eval.api.instance import Instance
from torch import nn

from model.huggingface.configuration import adapter_of
from tasks.evaluation.harness import NativeModel, score
from tests.tasks.evaluation.small import (
    POSITIONS,
    SHAPE,
    VOCABULARY,
    by_hand,
    one_task,
    small_model,
    small_tokenizer,
    topic_texts,
)

QUESTIONS = [
    ("What does a function return without a return statement?", ["None", "zero", "an empty tuple of values"], 0),
    ("Which statement leaves a loop?", ["pass", "the statement that is called break", "continue", "del"], 1),
    ("What is a list?", ["a number", "a mutable sequence", "a file"], 1),
    ("How are blocks marked?", ["by braces", "by words such as begin and end", "by indentation", "not"], 2),
    ("Which of these is a keyword?", ["ключевое слово", "lambda"], 1),
    ("Is the sky blue?", ["yes", "no"], 0),
]
PASSAGES = [
    "The value of the expression is the value",
    "A class is made when the class statement is run by the interpreter",
    "If no name is given then there is no name",
]


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> tokenizers.Tokenizer:
    return small_tokenizer(tmp_path_factory.mktemp("tokenizer"))


@pytest.fixture(scope="module")
def model() -> nn.Module:
    return small_model()


def requests(kind: str, arguments: list[tuple[Any, ...]]) -> list[Instance]:
    return [Instance(kind, {}, one, number) for number, one in enumerate(arguments)]  # type: ignore[arg-type]


def choices_task(folder: Path) -> Any:
    items = [{"question": text, "choices": choices, "answer": answer} for text, choices, answer in QUESTIONS]
    definition = {"kind": "multiple_choice", "name": "choices", "prompt": "Question: {question}\nAnswer:"}
    return one_task(folder, definition, items)


def test_multiple_choice_by_hand(model: nn.Module, tokenizer: tokenizers.Tokenizer, tmp_path: Path) -> None:
    """acc takes the likeliest choice, acc_norm the likeliest per character of it (LLaMA, section 3)."""
    right, right_normalised, right_by_bytes = [], [], []
    for text, choices, answer in QUESTIONS:
        values = [by_hand(model, tokenizer, f"Question: {text}\nAnswer:", f" {choice}")[0] for choice in choices]
        by_length = [value / len(choice) for value, choice in zip(values, choices, strict=True)]
        by_bytes = [value / len(choice.encode()) for value, choice in zip(values, choices, strict=True)]
        right.append(values.index(max(values)) == answer)
        right_normalised.append(by_length.index(max(by_length)) == answer)
        right_by_bytes.append(by_bytes.index(max(by_bytes)) == answer)
    found = score(NativeModel(model, tokenizer), choices_task(tmp_path))
    assert (found.name, found.kind, found.items) == ("choices", "multiple_choice", len(QUESTIONS))
    acc, acc_norm = sum(right) / len(right), sum(right_normalised) / len(right)
    distinct = {tuple(right), tuple(right_normalised), tuple(right_by_bytes)}
    assert len(distinct) == 3 and len(set(map(sum, distinct))) == 3, "otherwise the test shows nothing"
    assert found.metrics == {"acc": round(acc, 6), "acc_norm": round(acc_norm, 6)}
    # The standard error of a mean, with Bessel's correction.
    error = math.sqrt(acc * (1 - acc) / (len(right) - 1))
    assert found.standard_errors["acc"] == pytest.approx(error, abs=1e-6)


def test_last_word_by_hand(model: nn.Module, tokenizer: tokenizers.Tokenizer, tmp_path: Path) -> None:
    task = one_task(tmp_path, {"kind": "last_word", "name": "words"}, [{"text": text} for text in PASSAGES])
    values = [by_hand(model, tokenizer, *_cut(text)) for text in PASSAGES]
    found = score(NativeModel(model, tokenizer), task)
    assert found.metrics["acc"] == sum(greedy for _, greedy in values) / len(values)
    perplexity = math.exp(-sum(value for value, _ in values) / len(values))
    assert found.metrics["perplexity"] == pytest.approx(perplexity, rel=1e-5)
    assert found.standard_errors["perplexity"] is not None and found.standard_errors["perplexity"] > 0


def test_a_word_that_is_foreseen_counts(tokenizer: tokenizers.Tokenizer, tmp_path: Path) -> None:
    """A passage whose last word is what the model itself says next: acc is 1, and 1/2 beside one that it is not."""
    model, context = small_model(), "In the beginning there was"
    ids = tokenizer.encode(context, add_special_tokens=False).ids
    likeliest = int(model(torch.tensor([ids]))[0, -1].argmax())
    # What the model says next becomes a word when two rows of its last layer change places.
    [word] = tokenizer.encode(" the", add_special_tokens=False).ids
    weights: torch.Tensor = model.head.output.weight  # type: ignore[assignment,union-attr]
    weights[[likeliest, word]] = weights[[word, likeliest]]
    native = NativeModel(model, tokenizer)
    definition = {"kind": "last_word", "name": "words"}
    items = [{"text": f"{context} the"}, {"text": f"{context} zebra"}]
    assert score(native, one_task(tmp_path, definition, items[:1])).metrics["acc"] == 1.0
    assert score(native, one_task(tmp_path, definition, items)).metrics["acc"] == 0.5


def test_scores_do_not_depend_on_the_batch(model: nn.Module, tokenizer: tokenizers.Tokenizer, tmp_path: Path) -> None:
    pairs = [(f"Question: {text}\nAnswer:", f" {choice}") for text, choices, _ in QUESTIONS for choice in choices]
    pairs += [_cut(text) for text in PASSAGES]
    alone = [NativeModel(model, tokenizer).loglikelihood(requests("loglikelihood", [pair]))[0] for pair in pairs]
    for batch in (1, 2, 5, len(pairs)):
        found = NativeModel(model, tokenizer, batch).loglikelihood(requests("loglikelihood", pairs))
        assert [greedy for _, greedy in found] == [greedy for _, greedy in alone]
        assert [value for value, _ in found] == pytest.approx([value for value, _ in alone], rel=1e-6), f"batch {batch}"
    assert NativeModel(model, tokenizer, 1).loglikelihood(requests("loglikelihood", pairs)) == alone
    task = choices_task(tmp_path)
    scores = [score(NativeModel(model, tokenizer, batch), task) for batch in (1, 3, 7)]
    assert scores[0].metrics == scores[1].metrics == scores[2].metrics


def test_no_context_is_the_end_of_text(model: nn.Module, tokenizer: tokenizers.Tokenizer) -> None:
    native = NativeModel(model, tokenizer)
    end = native.eot_token_id
    ids = tokenizer.encode(" hello there", add_special_tokens=False).ids
    log = model(torch.tensor([[end, *ids]]))[0].double().log_softmax(-1)
    expected = sum(log[place, token].item() for place, token in enumerate(ids))
    # Another token may be named: it precedes texts, and ends what is generated.
    assert NativeModel(model, tokenizer, end_of_document="<|padding|>").eot_token_id == 1 != end
    # Blanks at the end of a context belong to the continuation, which leaves a context of blanks empty.
    [(empty, _), (blank, _)] = native.loglikelihood(
        requests("loglikelihood", [("", " hello there"), (" ", "hello there")])
    )
    assert empty == pytest.approx(expected, rel=1e-6) and blank == empty


def test_a_context_that_does_not_fit_loses_its_beginning(model: nn.Module, tokenizer: tokenizers.Tokenizer) -> None:
    text = topic_texts(3, 4)[0]
    context, continuation = text[:600], text[600:640]
    whole = tokenizer.encode(context + continuation, add_special_tokens=False).ids
    count = len(whole) - len(tokenizer.encode(context, add_special_tokens=False).ids)
    assert len(whole) > 2 * POSITIONS
    log = model(torch.tensor([whole[-POSITIONS - 1 : -1]]))[0].double().log_softmax(-1)
    expected = sum(log[POSITIONS - count + place, token].item() for place, token in enumerate(whole[-count:]))
    [(found, _)] = NativeModel(model, tokenizer).loglikelihood(requests("loglikelihood", [(context, continuation)]))
    assert found == pytest.approx(expected, rel=1e-6)


def test_rolling_predicts_every_token_once(model: nn.Module, tokenizer: tokenizers.Tokenizer) -> None:
    texts = [topic_texts(4, 5)[0][:500], "short", ""]
    native = NativeModel(model, tokenizer, 3)
    found = native.loglikelihood_rolling(requests("loglikelihood_rolling", [(text,) for text in texts]))
    for text, value in zip(texts, found, strict=True):
        ids = tokenizer.encode(text, add_special_tokens=False).ids
        expected = 0.0
        for start in range(0, len(ids), POSITIONS):
            wanted = ids[start : start + POSITIONS]
            before = [native.eot_token_id, *ids][: start + len(wanted)][-POSITIONS:]
            log = model(torch.tensor([before]))[0].double().log_softmax(-1)[-len(wanted) :]
            expected += sum(log[place, token].item() for place, token in enumerate(wanted))
        assert value == pytest.approx(expected, rel=1e-6)


def test_generation_is_greedy_and_stops(model: nn.Module, tokenizer: tokenizers.Tokenizer) -> None:
    native = NativeModel(model, tokenizer)
    ids = tokenizer.encode("once upon", add_special_tokens=False).ids
    told: list[int] = []
    for _ in range(8):
        told.append(int(model(torch.tensor([ids + told]))[0, -1].argmax()))
    assert native.eot_token_id not in told
    text = tokenizer.decode(told)
    arguments = [("once upon", {"until": stops, "max_gen_toks": 8}) for stops in ([], [text[3]])]
    assert native.generate_until(requests("generate_until", arguments)) == [text, text[: text.index(text[3])]]
    with pytest.raises(ValueError, match="greedy"):
        native.generate_until(requests("generate_until", [("a", {"do_sample": True, "temperature": 1.0})]))
    with pytest.raises(ValueError, match="64 positions"):
        native.generate_until(requests("generate_until", [("a", {"max_gen_toks": 64})]))


def test_equal_to_the_harness_s_own_model(
    model: nn.Module, tokenizer: tokenizers.Tokenizer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same weights as a GPTNeoXForCausalLM behind the harness's `HFLM`: the same numbers and the same texts."""
    reference = hugging_face(model, tokenizer, monkeypatch)
    long = topic_texts(3, 4)[0]
    pairs = [(f"Question: {text}\nAnswer:", f" {choice}") for text, choices, _ in QUESTIONS for choice in choices]
    pairs += [("", " hello"), ("ends in blanks  ", "word"), (long[:600], long[600:640]), *map(_cut, PASSAGES)]
    ours = NativeModel(model, tokenizer, 4)
    found, theirs = (one.loglikelihood(requests("loglikelihood", pairs)) for one in (ours, reference))
    assert [value for value, _ in found] == pytest.approx([value for value, _ in theirs], rel=1e-5)
    assert [greedy for _, greedy in found] == [greedy for _, greedy in theirs]
    texts = [(long[:500],), ("short",)]
    found, theirs = (one.loglikelihood_rolling(requests("loglikelihood_rolling", texts)) for one in (ours, reference))
    assert found == pytest.approx(theirs, rel=1e-5)
    stops = [("once upon", {"until": ["e"], "max_gen_toks": 12}), (long[:600], {"until": ["\n\n"], "max_gen_toks": 9})]
    found, theirs = (one.generate_until(requests("generate_until", stops)) for one in (ours, reference))
    assert found == theirs
    task = choices_task(tmp_path)
    assert score(ours, task).metrics == score(reference, task).metrics


def hugging_face(model: nn.Module, tokenizer: tokenizers.Tokenizer, monkeypatch: pytest.MonkeyPatch) -> Any:
    from transformers import GPTNeoXConfig, GPTNeoXForCausalLM, PreTrainedTokenizerFast

    # HFLM's module imports these names, and uses none of them for a model that is there already.
    names = ("Accelerator", "InitProcessGroupKwargs", "find_executable_batch_size", "get_max_memory")
    for module in ("accelerate", "accelerate.utils"):
        stand_in = types.ModuleType(module)
        stand_in.__dict__.update(dict.fromkeys(names))
        monkeypatch.setitem(sys.modules, module, stand_in)
    from lm_eval.models.huggingface import HFLM

    rope = {"rope_type": "default", "rope_theta": 10_000.0, "partial_rotary_factor": 0.25}
    config = GPTNeoXConfig(
        vocab_size=VOCABULARY,
        hidden_size=SHAPE["width"],
        num_hidden_layers=SHAPE["layers"],
        num_attention_heads=SHAPE["heads"],
        intermediate_size=4 * 32,
        max_position_embeddings=POSITIONS,
        hidden_act="gelu_new",
        rope_parameters=rope,
        use_parallel_residual=True,
        tie_word_embeddings=False,
        bos_token_id=0,
        eos_token_id=0,
    )
    reference = GPTNeoXForCausalLM(config).eval()
    held = dict(reference.named_parameters())
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            held[adapter_of(model.config).name_there(name).replace("embed_out", "lm_head")].copy_(parameter)
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<|endoftext|>")
    return HFLM(pretrained=reference, tokenizer=fast, backend="causal", batch_size=1, device="cpu")


def test_nothing_is_asked_of_a_hub(
    model: nn.Module, tokenizer: tokenizers.Tokenizer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any) -> None:
        raise AssertionError("a connection was tried")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    assert score(NativeModel(model, tokenizer), choices_task(tmp_path)).items == len(QUESTIONS)


def test_continuations_that_cannot_be_scored(model: nn.Module, tokenizer: tokenizers.Tokenizer) -> None:
    native = NativeModel(model, tokenizer)
    with pytest.raises(ValueError, match=r"'' of 'a' has 0 tokens"):
        native.loglikelihood(requests("loglikelihood", [("a", "")]))
    with pytest.raises(ValueError, match="the model scores 1 to 64"):
        native.loglikelihood(requests("loglikelihood", [("a", " §" * 65)]))


def test_a_diverged_checkpoint_is_told(tokenizer: tokenizers.Tokenizer) -> None:
    broken = small_model()
    with torch.no_grad():
        broken.head.output.weight.fill_(math.nan)  # type: ignore[union-attr,operator]
    with pytest.raises(ValueError, match="diverged"):
        NativeModel(broken, tokenizer).loglikelihood(requests("loglikelihood", [("a", " b")]))


def test_a_tokenizer_larger_than_the_model_is_refused(model: nn.Module, shared_data: Path) -> None:
    large = tokenizers.Tokenizer.from_file(str(shared_data / "tokenizers" / "neox-20B_tokenizer.json"))
    with pytest.raises(ValueError, match="50277 tokens"):
        NativeModel(model, large)


def _cut(text: str) -> tuple[str, str]:
    before, _, word = text.rpartition(" ")
    return before, f" {word}"
