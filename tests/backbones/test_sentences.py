"""Folders of sentence-transformers: what they state of length, prompt and pooling is done, or refused by name."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from backbones.catalog import LoadOptions, load_backbone
from backbones.core.errors import FrostlineError
from backbones.sentences import MODES, read_sentences
from backbones.testing_models import tiny_bert
from backbones.text import POOLINGS, Reading

TEXTS = ["the cat", "The CARD is my card now and I call the bank for it", "a"]


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny encoder that states nothing."""
    path = tmp_path_factory.mktemp("sentences") / "plain"
    backbone = tiny_bert()
    module: Any = backbone.module
    prepare: Any = backbone.preprocessing
    module.save_pretrained(path)
    prepare.tokenizer.save_pretrained(path)
    return path


def folder(
    plain: Path,
    place: Path,
    *,
    pooling: dict[str, Any] | None = None,
    modules: tuple[str, ...] = (),
    length: dict[str, Any] | None = None,
    prompts: dict[str, Any] | None = None,
) -> Path:
    """Write a folder as sentence-transformers does."""
    shutil.copytree(plain, place)
    kinds = ("Transformer", "Pooling", *modules)
    steps = [
        {"idx": n, "type": f"sentence_transformers.models.{k}", "path": f"{n}_{k}" * bool(n)}
        for n, k in enumerate(kinds)
    ]
    (place / "modules.json").write_text(json.dumps(steps))
    (place / "1_Pooling").mkdir()
    (place / "1_Pooling" / "config.json").write_text(json.dumps(pooling or {"pooling_mode_mean_tokens": True}))
    if length is not None:
        (place / "sentence_bert_config.json").write_text(json.dumps(length))
    if prompts is not None:
        (place / "config_sentence_transformers.json").write_text(json.dumps(prompts))
    return place


def encode(backbone: Any, texts: list[str]) -> torch.Tensor:
    with torch.no_grad():
        found: torch.Tensor = backbone.features(backbone.preprocessing(texts))
    return found


def test_a_stated_length_is_kept_unless_the_user_says_another(plain: Path, tmp_path: Path) -> None:
    place = folder(plain, tmp_path / "a", length={"max_seq_length": 6})
    found = load_backbone(str(place))
    assert any(
        "texts are cut at 6 tokens, as its folder states; max_tokens allows up to" in note for note in found.notes
    )
    wanted = load_backbone(str(folder(plain, tmp_path / "b")), LoadOptions(max_tokens=6))
    assert torch.equal(encode(found, TEXTS), encode(wanted, TEXTS))
    longer = load_backbone(str(place), LoadOptions(max_tokens=30))
    assert not any("as its folder states" in note for note in longer.notes)
    assert not torch.equal(encode(longer, TEXTS), encode(found, TEXTS))


def test_a_default_prompt_opens_every_text(plain: Path, tmp_path: Path) -> None:
    bare = load_backbone(
        str(folder(plain, tmp_path / "a", prompts={"prompts": {"q": "my "}, "default_prompt_name": None}))
    )
    said = {"prompts": {"q": "my card ", "d": "x "}, "default_prompt_name": "q"}
    found = load_backbone(str(folder(plain, tmp_path / "b", prompts=said)))
    assert torch.equal(encode(found, TEXTS), encode(bare, ["my card " + text for text in TEXTS]))
    assert "every text opens with the default prompt of its folder, 'my card '" in found.notes
    assert found.preprocessing.described() != bare.preprocessing.described()
    with pytest.raises(FrostlineError, match="has the default prompt 'q' but no such prompt"):
        load_backbone(str(folder(plain, tmp_path / "c", prompts={"default_prompt_name": "q"})))
    held = {"pooling_mode_mean_tokens": True, "include_prompt": False}
    with pytest.raises(FrostlineError, match="leaves its default prompt 'my card ' out of the pooling"):
        load_backbone(str(folder(plain, tmp_path / "d", prompts=said, pooling=held)))


def test_small_letters_are_made_where_the_folder_says_so(plain: Path, tmp_path: Path) -> None:
    found = load_backbone(str(folder(plain, tmp_path / "a", length={"do_lower_case": True})))
    bare = load_backbone(str(folder(plain, tmp_path / "b")))
    assert torch.equal(encode(found, TEXTS), encode(bare, [text.lower() for text in TEXTS]))
    assert "texts are written in small letters, as its folder states" in found.notes


@pytest.mark.parametrize("mode", MODES)
def test_each_pooling_is_what_sentence_transformers_documents(plain: Path, tmp_path: Path, mode: str) -> None:
    found: Any = load_backbone(str(folder(plain, tmp_path / "a", pooling={f"pooling_mode_{mode}": True})))
    named: Any = load_backbone(str(folder(plain, tmp_path / "b", pooling={"pooling_mode": MODES[mode]})))
    batch = found.preprocessing(TEXTS)
    with torch.no_grad():
        states = found.module(input_ids=batch[:, 0], attention_mask=batch[:, 1]).last_hidden_state
    rows = []
    for row, seen in zip(states, batch[:, 1], strict=True):
        own = row[: int(seen.sum())]
        weights = torch.arange(1.0, len(own) + 1)[:, None]
        rows.append(
            {
                "cls": own[0],
                "mean": own.mean(0),
                "max": own.max(0).values,
                "mean_sqrt_len": own.sum(0) / len(own) ** 0.5,
                "weightedmean": (own * weights).sum(0) / weights.sum(),
                "lasttoken": own[-1],
            }[MODES[mode]]
        )
    torch.testing.assert_close(encode(found, TEXTS), torch.stack(rows), atol=1e-5, rtol=1e-5)
    assert torch.equal(encode(named, TEXTS), encode(found, TEXTS))


REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"modules": ("Dense",)}, "has the module Dense"),
    ({"modules": ("LayerNorm", "Normalize")}, "has the module LayerNorm"),
    (
        {"pooling": {"pooling_mode_mean_tokens": True, "pooling_mode_max_tokens": True}},
        "pools by mean_tokens and max_tok",
    ),
    ({"pooling": {"pooling_mode": "best"}}, "pools by best"),
    ({"pooling": {"pooling_mode_mean_tokens": False}}, "pools by unknown means"),
    ({"prompts": {"truncate_dim": 64}}, "cuts features to 64 numbers"),
]


@pytest.mark.parametrize(("stated", "words"), REFUSED, ids=[words for _, words in REFUSED])
def test_what_is_not_done_is_refused_by_name(plain: Path, tmp_path: Path, stated: dict[str, Any], words: str) -> None:
    place = folder(plain, tmp_path / "a", **stated)
    with pytest.raises(FrostlineError, match=f"{words}.*pass a pooling to have that alone: mean, cls"):
        load_backbone(str(place))
    found: Any = load_backbone(str(place), LoadOptions(pooling="cls"))
    assert found.reading.pooling == "cls"


def test_what_is_written_is_read_again(plain: Path, tmp_path: Path) -> None:
    from backbones.training.saving import save_backbone

    stated = {"prompts": {"q": "my "}, "default_prompt_name": "q"}
    found: Any = load_backbone(str(folder(plain, tmp_path / "a", length={"max_seq_length": 9}, prompts=stated)))
    for pooling in POOLINGS:
        found._read = Reading(pooling, normalised=True)
        save_backbone(found, tmp_path / pooling, {})
        again: Any = load_backbone(str(tmp_path / pooling))
        assert again.reading == found.reading
        assert again.preprocessing.described() == found.preprocessing.described()


def test_damaged_statements_are_named(plain: Path, tmp_path: Path) -> None:
    place = folder(plain, tmp_path / "a")
    (place / "1_Pooling" / "config.json").write_text("{")
    with pytest.raises(FrostlineError, match=r"1_Pooling/config\.json is not readable as JSON"):
        read_sentences(place)
    (place / "modules.json").write_text('{"a": 1}')
    with pytest.raises(FrostlineError, match=r"modules\.json is no list of modules"):
        read_sentences(place)
