"""Laws of the data of pre-training: windows, pairs, masks, vocabularies, sizes and views."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pretrain_makers import coloured_task, numbered_tokens, write_corpus
from scipy import stats

from backbones.core.errors import FrostlineError
from backbones.core.seed import numpy_generator, torch_generator
from backbones.lifecycle.pretrain.encoding import encode
from backbones.lifecycle.pretrain.masking import IGNORED, Masking
from backbones.lifecycle.pretrain.sequences import LEAST, STRANGE, Pairs, Singles, cut
from backbones.lifecycle.pretrain.sizes import BERT_SIZES, VIT_SIZES, check_patches, choose_shape
from backbones.lifecycle.pretrain.views import Augmentation, view_of
from backbones.lifecycle.pretrain.vocabulary import Frame, frame_of, read_tokenizer, train_vocabulary
from backbones.testing_models import tiny_bert, tiny_roberta
from backbones.training.corpus import read_documents

FRAME = Frame((2,), (3,), ((2,), (3,), (3,)), True)
CHANCE = 1e-3  # how unlikely a count may be; the draws are fixed
LENGTHS = st.lists(st.integers(0, 90), min_size=2, max_size=8).filter(lambda found: sum(n >= 25 for n in found) > 1)


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
    file = write_corpus(tmp_path_factory.mktemp("vocabulary") / "corpus.txt")
    return train_vocabulary(read_documents([file]), 120, 32)


def test_a_trained_vocabulary_is_the_same_twice_and_survives_a_folder(tokenizer, tmp_path):
    file = write_corpus(tmp_path / "corpus.txt")
    again = train_vocabulary(read_documents([file]), 120, 32)
    assert again.get_vocab() == tokenizer.get_vocab()
    assert len(tokenizer) <= 120
    tokenizer.save_pretrained(tmp_path / "kept")
    kept = read_tokenizer(tmp_path / "kept")
    text = "The harbour remembers the RIVER without a word."
    assert kept(text)["input_ids"] == tokenizer(text)["input_ids"]
    assert kept.decode(kept(text)["input_ids"], skip_special_tokens=True).replace(" ", "") == "".join(
        text.lower().split()
    )


def test_frames_are_what_tokenizers_put_around_texts(tokenizer):
    cls, sep = tokenizer.cls_token_id, tokenizer.sep_token_id
    assert frame_of(tokenizer) == Frame((cls,), (sep,), ((cls,), (sep,), (sep,)), True)
    roberta = tiny_roberta().preprocessing.tokenizer
    frame = frame_of(roberta)
    assert frame.opening == (roberta.convert_tokens_to_ids("<s>"),)
    assert frame.single_room == roberta.num_special_tokens_to_add()


def test_a_vocabulary_that_cannot_spell_is_refused():
    with pytest.raises(FrostlineError, match=r"vocabulary of 20 tokens.*100 or more"):
        train_vocabulary([["some text"]], 20, 32)


def test_a_folder_without_a_tokenizer_or_without_a_mask_is_refused(tmp_path):
    with pytest.raises(FrostlineError, match="no such folder"):
        read_tokenizer(tmp_path / "absent")
    (tmp_path / "empty").mkdir()
    with pytest.raises(FrostlineError, match=r"cannot be read.*tokenizer.json"):
        read_tokenizer(tmp_path / "empty")
    tiny_bert().preprocessing.tokenizer.save_pretrained(tmp_path / "plain")
    with pytest.raises(FrostlineError, match=r"no mask token.*masked model"):
        read_tokenizer(tmp_path / "plain")


def test_encoding_keeps_every_token_and_knows_where_words_sentences_and_documents_begin(tokenizer):
    documents = [["The harbour watches.", "A letter!"], ["River"], ["My strangers forget, the rain."]]
    found = encode(documents, tokenizer)
    sentences = [s for d in documents for s in d]
    whole = [tokenizer(s, add_special_tokens=False) for s in sentences]
    assert found.ids.tolist() == [token for each in whole for token in each["input_ids"]]
    begins = np.flatnonzero(found.sentences).tolist()
    assert begins == np.cumsum([0] + [len(each["input_ids"]) for each in whole[:-1]]).tolist()
    assert found.documents.tolist() == [0, begins[2], begins[3], len(found.ids)]
    pieces = tokenizer.convert_ids_to_tokens(found.ids.tolist())
    assert [not piece.startswith("##") for piece in pieces] == found.words.tolist()
    assert found.count == 3 + 2 + 1 + 5


@settings(max_examples=40, deadline=None)
@given(LENGTHS, st.integers(8, 24), st.integers(0, 99))
def test_windows_stay_in_their_document_and_lose_only_scraps(lengths, room, seed):
    tokens = numbered_tokens(lengths, seed)
    windows = cut(tokens, room)
    sizes = windows.end - windows.begin
    assert sizes.max() <= room and sizes.min() >= 1
    assert (windows.begin >= tokens.documents[windows.document]).all()
    assert (windows.end <= tokens.documents[windows.document + 1]).all()
    assert (windows.begin[1:] >= windows.end[:-1]).all()
    # What no window holds: fewer than LEAST tokens at the end of a document, or before a cut that would be as short.
    assert len(tokens.ids) - sizes.sum() <= (LEAST - 1) * (len(lengths) + len(windows))
    split = [begin for begin in windows.begin.tolist() if not tokens.words[begin]]
    for begin in split:  # only where a word is longer than a window
        assert not tokens.words[begin - room + 1 : begin + 1].any()


def test_a_corpus_shorter_than_a_sequence_is_refused():
    with pytest.raises(FrostlineError, match=r"has 20 tokens, fewer than one sequence takes \(30"):
        cut(numbered_tokens([12, 8]), 30)


@settings(max_examples=25, deadline=None)
@given(LENGTHS, st.integers(0, 99))
def test_pairs_follow_or_come_from_another_document_as_labelled(lengths, seed):
    tokens = numbered_tokens(lengths, seed)
    windows = cut(tokens, 21)
    pairs = Pairs(windows, FRAME, 0)
    batch = pairs(list(range(len(pairs))), torch_generator(seed))
    assert batch.strange is not None
    for row, strange in enumerate(batch.strange.tolist()):
        ids = batch.ids[row][batch.seen[row]].tolist()
        assert ids[0] == 2 and ids[-1] == 3 and ids.count(3) == 2
        first, second = ids[1 : ids.index(3)], ids[ids.index(3) + 1 : -1]
        for part in (first, second):
            assert part and part == list(range(part[0], part[0] + len(part)))
        homes = [int(np.searchsorted(tokens.documents, part[0] - 10, side="right")) for part in (first, second)]
        if strange == STRANGE:
            assert homes[0] != homes[1]
        else:
            assert homes[0] == homes[1] and second[0] == first[-1] + 1
        kinds = batch.types[row][batch.seen[row]].tolist()
        assert kinds == [0] * (len(first) + 2) + [1] * (len(second) + 1)


def test_half_of_the_pairs_are_strange():
    pairs = Pairs(cut(numbered_tokens([200] * 10), 21), FRAME, 0)
    generator = torch_generator(0)
    labels = torch.cat([pairs(list(range(len(pairs))), generator).strange for _ in range(20)])
    assert stats.binomtest(int(labels.sum()), len(labels), 0.5).pvalue > CHANCE


@settings(max_examples=25, deadline=None)
@given(LENGTHS, st.integers(0, 99))
def test_a_strange_part_is_filled_as_the_true_one(lengths, seed):
    tokens = numbered_tokens(lengths, seed)
    pairs = Pairs(cut(tokens, 21), FRAME, 0)
    windows = pairs.windows
    rows_of = {document: windows.document == document for document in set(windows.document.tolist())}
    held = {document: windows.end[rows].max() - windows.begin[rows].min() for document, rows in rows_of.items()}
    batch = pairs(list(range(len(pairs))), torch_generator(seed))
    for row, strange in enumerate(batch.strange.tolist()):
        ids = batch.ids[row][batch.seen[row]].tolist()
        first, second = ids[1 : ids.index(3)], ids[ids.index(3) + 1 : -1]
        longest = max(size for document, size in held.items() if document != windows.document[row])
        assert len(second) == min(windows.end[row] - windows.begin[row] - len(first), longest)
        parted = first[-1] + 1 - 10
        if strange == STRANGE and tokens.sentences[parted]:
            assert tokens.sentences[second[0] - 10]
        if tokens.words[parted]:
            assert tokens.words[second[0] - 10]


def test_lengths_say_nothing_of_the_label():
    from sklearn.tree import DecisionTreeClassifier

    sizes = numpy_generator(5).integers(5, 300, size=60).tolist()
    pairs = Pairs(cut(numbered_tokens(sizes, 3), 61), FRAME, 0)
    generator = torch_generator(1)
    seen, labels = [], []
    for _ in range(30):
        batch = pairs(list(range(len(pairs))), generator)
        total, second = batch.seen.sum(1), batch.types.sum(1)
        seen.append(torch.stack([total, second, total - second], dim=1).numpy())
        labels.append(batch.strange.numpy())
    rows, known = np.concatenate(seen), np.concatenate(labels)
    half = len(rows) // 2
    tree = DecisionTreeClassifier(max_leaf_nodes=32, random_state=0).fit(rows[:half], known[:half])
    right = int((tree.predict(rows[half:]) == known[half:]).sum())
    assert stats.binomtest(right, len(rows) - half, max(known[half:].mean(), 1 - known[half:].mean())).pvalue > CHANCE


def test_pairs_from_one_document_are_refused():
    with pytest.raises(FrostlineError, match=r"needs two documents.*--no-next-sentence"):
        Pairs(cut(numbered_tokens([100]), 20), FRAME, 0)


@settings(max_examples=40, deadline=None)
@given(LENGTHS, st.floats(0.01, 0.45), st.integers(0, 99))
def test_held_out_documents_are_not_trained_on(lengths, share, seed):
    windows = cut(numbered_tokens(lengths, seed), 12)
    rest, held = windows.split(share, numpy_generator(seed))
    assert len(rest) + len(held) == len(windows) and len(rest) and len(held)
    assert not set(rest.document.tolist()) & set(held.document.tolist())


def test_of_a_single_document_the_end_is_held_out():
    windows = cut(numbered_tokens([200]), 10)
    rest, held = windows.split(0.1, numpy_generator(0))
    assert rest.end.max() <= held.begin.min() and len(held) == round(0.1 * len(windows))


def words_of(rows: int, length: int, seed: int = 0) -> torch.Tensor:
    """Return numbers of words of one to three tokens between two special tokens, padded."""
    starts = torch.rand((rows, length), generator=torch_generator(seed)) < 0.6
    words = starts.cumsum(1) - starts[:, :1].long()
    words[:, 0] = words[:, -1] = -1
    return words


@pytest.mark.parametrize("whole_words", [False, True])
def test_corruption_rates_are_those_of_bert(tokenizer, whole_words):
    words = words_of(1500, 64)
    ids = torch.randint(5, len(tokenizer), words.shape, generator=torch_generator(1))
    masking = Masking(tokenizer, whole_words=whole_words)
    hidden, labels = masking(ids, words, torch_generator(2))
    asked = labels != IGNORED
    units = words[:, 1:-1] if not whole_words else None
    if units is not None:
        assert stats.binomtest(int(asked.sum()), units.numel(), 0.15).pvalue > CHANCE
    else:  # words are drawn, not tokens
        keys = torch.arange(len(words))[:, None] * 100 + words
        drawn, every = keys[asked].unique().numel(), keys[words >= 0].unique().numel()
        assert stats.binomtest(drawn, every, 0.15).pvalue > CHANCE
        assert abs(int(asked.sum()) / int((words >= 0).sum()) - 0.15) < 0.01
    size = len(tokenizer)
    masked = asked & (hidden == tokenizer.mask_token_id)
    same = asked & (hidden == ids)
    counts = [int(masked.sum()), int(same.sum()), int((asked & ~masked & ~same).sum())]
    shares = np.array([0.8 + 0.1 / size, 0.1 + 0.1 / size, 0.1 - 0.2 / size])  # a random token may be any
    assert stats.chisquare(counts, shares * int(asked.sum())).pvalue > CHANCE


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 6), st.integers(4, 30), st.booleans(), st.integers(0, 999))
def test_nothing_special_is_hidden_and_labels_are_the_hidden_tokens(tokenizer, rows, length, whole_words, seed):
    words = words_of(rows, length, seed)
    ids = torch.randint(5, len(tokenizer), words.shape, generator=torch_generator(seed, "ids"))
    masking = Masking(tokenizer, whole_words=whole_words)
    hidden, labels = masking(ids, words, torch_generator(seed, "draw"))
    asked = labels != IGNORED
    assert not asked[words < 0].any() and asked.any(dim=1).all()
    assert torch.equal(labels[asked], ids[asked]) and torch.equal(hidden[~asked], ids[~asked])
    if whole_words:
        for row in range(rows):
            for word in words[row][words[row] >= 0].unique():
                assert len(asked[row][words[row] == word].unique()) == 1
    again = masking(ids, words, torch_generator(seed, "draw"))
    assert torch.equal(again[0], hidden) and torch.equal(again[1], labels)


def test_masks_leave_the_global_generator_alone(tokenizer):
    words = words_of(4, 16)
    before = torch.get_rng_state()
    Masking(tokenizer)(words.clamp(min=0) + 5, words, torch_generator(0))
    assert torch.equal(torch.get_rng_state(), before)


def test_batches_of_singles_are_framed_padded_and_numbered_by_word():
    tokens = numbered_tokens([30, 9])
    windows = cut(tokens, 14)
    batch = Singles(windows, FRAME, 0)(list(range(len(windows))), torch_generator(0))
    for row, (begin, end) in enumerate(zip(windows.begin, windows.end, strict=True)):
        inside = batch.ids[row][batch.seen[row]].tolist()
        assert inside == [2, *tokens.ids[begin:end].tolist(), 3]
        assert batch.ids[row][~batch.seen[row]].eq(0).all() and batch.word[row][~batch.seen[row]].eq(-1).all()
        number = batch.word[row][batch.word[row] >= 0]
        assert number.tolist() == (np.cumsum(tokens.words[begin:end] | (np.arange(begin, end) == begin)) - 1).tolist()


def test_sizes_by_name_and_by_number():
    assert choose_shape("base", BERT_SIZES).model_dump() == {"depth": 12, "width": 768, "heads": 12, "inner": 3072}
    own = choose_shape("tiny", BERT_SIZES, width=320, depth=3)
    assert own.model_dump() == {"depth": 3, "width": 320, "heads": 5, "inner": 1280}
    assert check_patches(224, None) == 16 and check_patches(32, None) == 4 and check_patches(30, 5) == 5


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: choose_shape("tyni", BERT_SIZES), r"unknown size 'tyni'.*'tiny'"),
        (lambda: choose_shape("ti", VIT_SIZES, width=100, heads=8), r"width 100 .*8 heads: pass width 96 or 104"),
        (lambda: choose_shape("ti", VIT_SIZES, depth=0), r"depth = 0"),
        (lambda: check_patches(30, 4), r"image size 30 .*patches of 4 pixels: pass image size 28 or 32"),
        (lambda: check_patches(4, 16), r"image size 4 .*pass image size 16, or a patch out of 1, 2, 4"),
    ],
)
def test_numbers_that_do_not_fit_are_refused_with_the_nearest(call, words):
    with pytest.raises(FrostlineError, match=words):
        call()


def test_views_without_changes_are_the_images_and_a_seed_gives_the_same():
    data = coloured_task().train
    still = Augmentation(least=1, flip=0, jitter=0, smoothing=0)
    view = view_of(data, [3, 0], 16, still, torch_generator(0))
    wanted = torch.from_numpy(np.stack(data.raw([3, 0]))).permute(0, 3, 1, 2).float() / 127.5 - 1
    assert torch.allclose(view.images, wanted, atol=1e-6)
    assert view.labels.tolist() == data.labels[[3, 0]].tolist()
    change = Augmentation(mixup=0.4)
    first, second, third = (view_of(data, [0, 5, 9], 12, change, torch_generator(seed)) for seed in (1, 1, 2))
    assert torch.equal(first.images, second.images) and not torch.equal(first.images, third.images)
    assert first.images.shape == (3, 3, 12, 12) and first.images.abs().max() <= 1
    assert 0 < first.share < 1


def test_mirrored_views_are_mirror_images():
    data = coloured_task().train
    view = view_of(data, [0, 1], 16, Augmentation(least=1, flip=1, jitter=0), torch_generator(0))
    plain = view_of(data, [0, 1], 16, Augmentation(least=1, flip=0, jitter=0), torch_generator(0))
    assert torch.equal(view.images, plain.images.flip(-1))


def test_the_loss_of_a_mixture_is_the_mixture_of_losses():
    data = coloured_task().train
    view = view_of(data, list(range(9)), 16, Augmentation(mixup=1.0), torch_generator(0))
    logits = torch.randn(9, 3, generator=torch_generator(1))
    target = torch.zeros(9, 3)
    for row, (label, other) in enumerate(zip(view.labels.tolist(), view.others.tolist(), strict=True)):
        target[row, label] += view.share
        target[row, other] += 1 - view.share
    target = 0.9 * target + 0.1 / 3
    wanted = -(target * logits.log_softmax(1)).sum(1).mean()
    assert torch.allclose(view.loss(logits, 0.1), wanted, atol=1e-6)
