"""Options that several commands of ``eae-zero`` share, written once."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from backbones.core.errors import FrostlineError

if TYPE_CHECKING:
    from zeroshot.predict_settings import PredictSettings
    from zeroshot.scorers.base import Scorer

INPUT, MODEL, RULES = "Input", "Scorer", "Rules and decoding"


def option(words: str, panel: str, *names: str) -> Any:
    """Return a typer option with its help and its panel."""
    return typer.Option(*names, help=words, rich_help_panel=panel)


@dataclass(frozen=True, kw_only=True)
class Options:
    """What the user said of reading, scoring and decoding."""

    ontology: Annotated[str | None, option("ace, ere, rams, kairos, crudeoil ..., or a TOML/JSON file", INPUT)] = None
    candidates: Annotated[str | None, option("arguments, entities or auto, whatever the input says", INPUT)] = None
    finder: Annotated[str, option("what finds mentions in raw text: auto, rules or spacy", INPUT)] = "auto"
    spacy_model: Annotated[str | None, option("spaCy pipeline for it", INPUT)] = None
    extent: Annotated[str, option("how much of a noun group is found: full, bare or head", INPUT)] = "bare"
    reach: Annotated[str, option("sentences beyond the trigger's own for candidates, or 'all'", INPUT)] = "0"
    infer_types: Annotated[bool, option("infer all entity types, even given ones", INPUT, "--infer-types")] = False
    trigger: Annotated[str | None, option("trigger of a raw text, see also --type", INPUT)] = None
    type: Annotated[str | None, option("event type of a raw text", INPUT)] = None
    language: Annotated[str | None, option("language of a raw text, such as de or German (default: en)", INPUT)] = None
    on_error: Annotated[str, option("stop or skip: what a bad document of several does", INPUT)] = "stop"
    scorer: Annotated[
        list[str] | None,
        option("NAME, NAME*WEIGHT or NAME,key=value; repeat it for an ensemble (default: embedding)", MODEL),
    ] = None
    lm: Annotated[str | None, option("model: minilm, minilm-mlm, a Hugging Face name or a folder", MODEL)] = None
    mode: Annotated[str | None, option("paper, label or label+suffix", MODEL)] = None
    template: Annotated[str | None, option("name of a prompt, or one of your own", MODEL)] = None
    calibrate: Annotated[str, option("none, pmi or corpus", MODEL)] = "none"
    device: Annotated[str | None, option("auto, cpu, cuda ...", MODEL)] = None
    precision: Annotated[str | None, option("auto, fp32 or bf16", MODEL)] = None
    cache: Annotated[Path | None, option("file that keeps scores for the next call", MODEL)] = None
    without: Annotated[list[str] | None, option("a constraint to switch off; repeatable", RULES)] = None
    rule_set: Annotated[
        list[str] | None, option("a setting of a constraint, such as maps.weight=hard; repeatable", RULES)
    ] = None
    type_weight: Annotated[float, option("factor on scores of entity types", RULES)] = 1.0
    none_bias: Annotated[float, option("log-odds added to 'no role'", RULES)] = 0.0
    best: Annotated[int, option("how many assignments to give", RULES)] = 1
    margins: Annotated[bool, option("prove what each role is worth", RULES)] = True
    time_limit: Annotated[
        float | None, option("seconds for one passage in all; if not given, 10 to decode and 10 to explain", RULES)
    ] = None

    def make_scorer(self) -> tuple[Scorer, str]:
        """Make the scorer and its name for reports."""
        from zeroshot.scorers.make import DEFAULT, make_scorer

        if self.lm is not None and not self.scorer:
            raise FrostlineError(
                f"--lm {self.lm}: say what reads it: --scorer masked (a masked language model), "
                "--scorer causal (a causal one) or --scorer embedding (a sentence encoder)."
            )
        said = {key: getattr(self, key) for key in ("lm", "mode", "template", "device", "precision")}
        defaults = {key: value for key, value in said.items() if value is not None}
        return make_scorer(tuple(self.scorer or (DEFAULT,)), defaults, calibrate=self.calibrate, cache=self.cache)

    def check(self) -> None:
        """Refuse names that nobody claims and values out of range, before anything heavy is imported."""
        from backbones.core.errors import unknown
        from zeroshot.constraints import CONSTRAINTS
        from zeroshot.scorers import SCORERS
        from zeroshot.scorers.make import HOWS, parse_scorer

        check_on_error(self.on_error)
        for words in self.scorer or ():
            SCORERS.check(parse_scorer(words)[0])
        settings = self.predict_settings()
        for name in (*settings.rules, *settings.without):
            CONSTRAINTS.check(name)
        for kind, value, known in (
            ("calibration", self.calibrate, HOWS),
            ("precision", self.precision or "auto", ("auto", "fp32", "bf16")),
        ):
            if value not in known:
                raise unknown(kind, value, known)
        if self.ontology is not None:
            from benchmarks.ontologies import load_ontology

            load_ontology(self.ontology)

    def own_file(self) -> Path | None:
        """Return the file of the user's ontology, None where a registered name or nothing is given."""
        return None if self.ontology is None else Path(self.ontology)

    def predict_settings(self) -> PredictSettings:
        """Return the settings of prediction."""
        from zeroshot.predict_settings import PredictSettings

        values = {
            "candidates": self.candidates,
            "finder": self.finder,
            "spacy_model": self.spacy_model,
            "extent": self.extent,
            "types": "infer" if self.infer_types else "given",
            "reach": None if self.reach == "all" else self.reach,
            "type_weight": self.type_weight,
            "none_bias": self.none_bias,
            "rules": _rules(self.rule_set or []),
            "without": tuple(self.without or ()),
            "best": self.best,
            "margins": self.margins,
            "time_limit": self.time_limit,
        }
        return PredictSettings.parse(values, "the prediction")


def check_on_error(value: str) -> None:
    """Raise FrostlineError for a word that is neither stop nor skip."""
    if value not in ("stop", "skip"):
        raise FrostlineError(f"on_error: expected 'stop' or 'skip', found {value!r}.")


def _rules(pairs: list[str]) -> dict[str, dict[str, str]]:
    """Return name -> settings from words like ``maps.weight=hard``."""
    from backbones.core.settings import parse_pairs

    words: dict[str, list[str]] = {}
    for pair in pairs:
        name, dot, rest = pair.partition(".")
        if not dot or "=" in name:
            raise FrostlineError(f"--rule-set {pair}: write RULE.KEY=VALUE, such as maps.weight=hard.")
        words.setdefault(name.strip(), []).append(rest)
    return {name: parse_pairs(rest, f"--rule-set {name}") for name, rest in words.items()}


def with_options(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command that takes ``options: Options`` all its fields as command-line options."""
    own = [each for each in inspect.signature(command, eval_str=True).parameters.values() if each.name != "options"]
    hints = inspect.get_annotations(Options, eval_str=True)
    keyword = inspect.Parameter.KEYWORD_ONLY
    common = [
        inspect.Parameter(field.name, keyword, default=field.default, annotation=hints[field.name])
        for field in fields(Options)
    ]
    names = {parameter.name for parameter in common}

    @functools.wraps(command)
    def call(**values: Any) -> None:
        given = {name: values.pop(name) for name in names}
        command(**values, options=Options(**given))

    parameters = [each.replace(kind=keyword) for each in own] + common
    call.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    call.__annotations__ = {each.name: each.annotation for each in parameters}
    del call.__wrapped__  # typer would read the hints of the command below
    return call
