"""Tables of English grammar: what a preposition, a place in the clause or a form says of the part that a mention plays.

Nothing here was learnt from annotated arguments. The tables hold what a grammar book holds: "by" marks who does it in
the passive, "from" an origin, a subject stands before its verb. Numbers are log-odds (nats) of general reasoning: 1 for
"rather" (73 %), 2 for "usually" (88 %), 3 for "nearly always" (95 %). They speak of *senses* (see senses.py): who does
it, who undergoes it, where, whence, whither ...
"""

from __future__ import annotations

import re
from collections.abc import Mapping


def words(listed: str) -> frozenset[str]:
    """Return words that are listed with blanks between them, as a set."""
    return frozenset(listed.split())


Odds = Mapping[str, float]

PREPOSITIONS: Mapping[str, Odds] = {
    "by": {"agent": 2, "means": 1, "vehicle": 1, "amount": 1, "place": -1, "patient": -2, "recipient": -1},
    "in": {"place": 2, "time": 1.5, "vehicle": 1, "agent": -1.5, "patient": -1},
    "at": {"place": 2, "time": 1, "agent": -1.5, "patient": -0.5, "amount": 0.5},
    "on": {"place": 1, "time": 1.5, "topic": 1, "vehicle": 0.5, "agent": -1.5},
    "aboard": {"vehicle": 2.5},
    "near": {"place": 2.5, "agent": -2, "patient": -1},
    "outside": {"place": 2.5, "agent": -2},
    "inside": {"place": 2.5, "agent": -2},
    "within": {"place": 2, "time": 1, "agent": -2},
    "across": {"place": 2.5, "path": 2, "agent": -2},
    "throughout": {"place": 2.5, "time": 1.5, "agent": -2},
    "around": {"place": 2, "time": 1, "agent": -2},
    "from": {"origin": 2.5, "place": 0.5, "giver": 1.5, "parts": 1.5, "start": 2, "patient": -1, "destination": -2},
    "to": {"destination": 2, "recipient": 2, "end": 2, "origin": -2, "agent": -1.5, "place": -0.5},
    "into": {"destination": 2.5, "end": 1.5, "agent": -2, "origin": -2},
    "onto": {"destination": 2.5, "agent": -2, "origin": -2},
    "toward": {"destination": 2.5, "recipient": 1, "agent": -2, "origin": -2},
    "with": {"means": 1.5, "company": 1.5, "vehicle": 0.5, "agent": -1, "place": -1.5},
    "using": {"means": 3, "agent": -2, "place": -2},
    "via": {"means": 2, "path": 2, "agent": -2},
    "through": {"means": 1.5, "path": 2, "place": 0.5, "agent": -2},
    "against": {"patient": 1.5, "topic": 0.5, "agent": -1.5, "place": -1},
    "for": {"purpose": 1.5, "cause": 1.5, "beneficiary": 1.5, "duration": 1, "price": 1, "agent": -1, "place": -0.5},
    "about": {"topic": 3, "agent": -2, "place": -2},
    "over": {"topic": 1.5, "cause": 1, "duration": 1, "agent": -2},
    "regarding": {"topic": 3, "agent": -2, "place": -2},
    "as": {"function": 3, "agent": -1.5, "place": -2},
    "among": {"patient": 1, "place": 0.5, "company": 1},
    "between": {"company": 2, "place": 0.5},
    "during": {"time": 2.5, "agent": -2},
    "since": {"time": 2.5, "agent": -2},
    "until": {"time": 2.5, "end": 1, "agent": -2},
    "after": {"time": 1.5, "cause": 1.5, "agent": -1},
    "before": {"time": 1.5, "recipient": 0.5, "agent": -1},
    "because": {"cause": 3},
}  # fmt: skip
"""Preposition -> sense -> log-odds that what follows plays this part."""

SAME = {
    "towards": "toward", "upon": "on", "concerning": "regarding", "amongst": "among",
    "amid": "during", "beside": "near", "alongside": "with", "nearby": "near", "off": "near", "onboard": "aboard",
    "beneath": "near", "under": "near", "above": "near", "behind": "near", "till": "until",
}  # fmt: skip

BARE: Mapping[str, Odds] = {
    "subject": {
        "agent": 1.5, "giver": 1, "company": 1, "patient": -0.5, "place": -1, "origin": -1.5, "destination":
        -1.5, "recipient": -0.5, "topic": -0.5, "means": -0.5, "beneficiary": -1,
    },
    "undergoer": {
        "patient": 2, "company": 0.5, "agent": -1.5, "place": -1, "origin": -1.5, "destination": -1.5, "means":
        -0.5, "beneficiary": -0.5,
    },
    "object": {
        "patient": 1.5, "recipient": 0.5, "topic": 1, "company": 0.5, "vehicle": 0, "agent": -2, "giver": -1,
        "place": -1, "origin": -1, "destination": -0.5, "means": -0.5, "beneficiary": -0.5,
    },
    "possessor": {
        "agent": 1, "patient": 0.5, "origin": -1, "destination": -1,
    },
    "of": {
        "patient": 1.5, "topic": 1, "agent": 0, "place": 0, "origin": -1, "destination": -1,
    },
    "aside": {},
}  # fmt: skip
"""Place in the clause of a mention without a preposition -> sense -> log-odds."""

FORMS: Mapping[str, Odds] = {
    "amount": {"amount": 2, "price": 1.5, "agent": -1.5, "patient": -1, "place": -2, "giver": -1.5, "recipient": -1.5},
    "time": {"time": 2.5, "start": 1, "duration": 0.5, "agent": -2, "patient": -1.5, "place": -2, "amount": -1},
}
"""Form of the mention itself -> sense -> log-odds."""

AMOUNT = re.compile(
    r"[$€£¥]|%|\b(?:percent(?:age)?|per ?cent|dollars?|euros?|pounds|yen|cents?|barrels?|bpd|tonn?e?s|kilos?|million|"
    r"billion|trillion)\b|^(?:\w+ )?\d[\d.,]*$",
    re.IGNORECASE,
)
TIME = re.compile(
    r"\b(?:(?:mon|tues|wednes|thurs|fri|satur|sun)day|january|february|april|june|july|august|september|october|"
    r"november|december|today|yesterday|tomorrow|tonight|morning|afternoon|evening|night|(?:week|month|quarter|year|day|"
    r"decade|hour|minute)s?|(?:19|20)\d\d|\d{1,2}:\d\d)\b|\bM(?:arch|ay)\b",
    re.IGNORECASE,
)
# Prepositions that before a number only say that it is rough.
ROUGH = words("about around near over under at")

# Verbs whose subject undergoes what they say (unaccusatives).
UNDERGOING = re.compile(
    r"(?:di(?:e[sd]?|ying)|perish|suffer|succumb|explod|blew|burst|crash|collaps|f[ae]ll|r[io]se|drop|s[aiu]nk|burn|"
    r"drown|starv|recover|surviv|arriv|disappear|declin|increas|decreas|grew|gr[eo]w|slip|slid|jump|soar|climb|gain|"
    r"tumbl|plung|surg|develop|occur|happen|contract|catch|caught|broke)\w*(?!\S)"
)
BE = words("am is are was were be been being get gets got getting 's 're")
DETERMINERS = words(
    "a an the this that these those his her its their our my your some any every each all both several many few no "
    "another other two three four five six seven eight nine ten dozens hundreds thousands more most at least about "
    "nearly almost only first second last next former late"
)
NOMINAL_BEFORE = words(
    "a an the this that these those his her its their our my your of in after before during for with by from 's ’s "
    "another any no each every"
)
STOPS = words(
    "and or but who whom which that when while where if because said says say was were is are be been being has have "
    "had will would can could may might must should not do does did"
)
ADVERBS = re.compile(r"(?:\w+ly|also|not|n't|already|later|then|still|just|reportedly|never|again|often|so|first)$")
