"""Words of general English by class, and what an unknown word's ending tells; nothing here comes from any data set."""

from __future__ import annotations

from functools import cache


def bag(words: str) -> frozenset[str]:
    """Return the words of a string as a set."""
    return frozenset(words.split())


DETERMINERS = bag("the a an this that these those each every any some no all both another either neither such")
POSSESSIVES = bag("my your his her its our their whose")
QUANTIFIERS = bag(
    """many much several few fewer more most less other own same various numerous certain enough half
    one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen eighteen
    nineteen twenty thirty forty fifty sixty seventy eighty ninety hundred thousand million billion trillion dozen
    dozens hundreds thousands millions billions scores
    first second third fourth fifth sixth seventh eighth ninth tenth last next previous former latter"""
)
PRONOUNS = bag(
    """i me you he him she it we us they them myself yourself himself herself itself ourselves themselves who whom
    someone somebody something anyone anybody anything everyone everybody everything nobody nothing none mine yours
    hers ours theirs others"""
)
PREPOSITIONS = bag(
    """of in on at by for from with to into onto upon over under above below between among amid through throughout
    during before after since until till against about around across along behind beside besides beyond near within
    without toward towards via per despite except inside outside off out up down like unlike than as worth
    alongside beneath underneath past amongst concerning regarding including following versus aboard atop"""
)
CONJUNCTIONS = bag(
    """and or but nor so yet if because while although though unless whereas whether when where why how which what
    that whenever wherever whatever once lest plus"""
)
AUXILIARIES = bag(
    """am is are was were be been being do does did done doing have has had having will would shall should can could
    may might must ought cannot isn't aren't wasn't weren't don't doesn't didn't haven't hasn't hadn't won't wouldn't
    shouldn't can't couldn't mustn't 're 've 'll 'd 'm not n't let lets let's"""
)
LINKING = bag("am is are was were be been being become becomes became becoming seem seems seemed remain remains")
ADVERBS = bag(
    """also then now here there still already again even just only too very quite rather almost nearly about perhaps
    maybe however therefore thus hence meanwhile moreover instead otherwise never always often sometimes seldom rarely
    soon ever later earlier ago away back together apart forward abroad home overseas indeed else elsewhere far well
    furthermore nevertheless nonetheless afterwards afterward thereafter somehow somewhat anyway altogether twice
    yes no please thanks nowhere everywhere somewhere once further least first lastly so upward downward ahead aside"""
)
ADJECTIVES = bag(
    """new old good bad big small large great little long short high low early late young important different public
    private local national international political economic social military foreign domestic real best better worst
    worse full free true false strong weak hot cold dark light heavy easy hard difficult possible impossible clear
    certain sure ready likely unlikely able unable available recent current main major minor deep wide broad narrow
    rich poor happy sad angry afraid aware dead alive sick ill healthy safe dangerous serious severe deadly fatal
    violent brutal huge tiny vast entire whole open closed close separate similar common rare special general
    particular single double final initial total key top senior chief federal central northern southern eastern western
    red blue green black white gray grey brown yellow orange pink responsible guilty innocent legal illegal criminal
    nuclear chemical medical physical mental natural human global federal royal modern ancient nice fine wrong right
    ongoing due upset worried concerned involved higher lower larger smaller bigger greater stronger weaker longer
    shorter older younger earlier later highest lowest largest smallest biggest greatest strongest latest oldest
    youngest nearby daily weekly monthly yearly annual elderly friendly lonely lovely costly thin thick choppy steady
    quick slow fast bright sharp flat tight loose quiet calm rough smooth soft warm cool wet dry clean dirty cheap
    expensive tough brave proud wealthy busy empty sole joint mutual potential significant substantial sufficient
    willing reluctant eager unclear unknown apparent alleged so-called"""
)
_REGULAR_VERBS = """accept accompany accuse achieve acquire act adapt add address adhere admit adopt advise affect agree
aim allege allow announce apologize appeal appear apply appoint approach approve argue arrange arrest arrive ask assist
assume assure attach attempt attend attract avoid await ban base become believe belong blame boost borrow bounce carry
cause cease celebrate challenge charge chase check choose cite claim clash climb close collapse collect combine comment
commit compare compete complain complete concede concern conclude condemn conduct confess confirm connect consider
consist contain continue contribute control convert convict convince cooperate cope cover crash create criticize cross
cry deal decide declare decline defeat defend define delay deliver demand demolish deny depart depend deploy describe
deserve design destroy detain determine detonate develop die differ disagree disappear discover discuss dismiss display
distribute divide dominate doubt drag drop earn ease elect eliminate emerge emphasize employ enable encourage end engage
enjoy ensure enter escape establish evacuate examine exceed exist expand expect experience explain explode explore
express extend face fail favor fear feature file fill finish fire fix flee follow force form function gain gather
generate grant guarantee handle happen harm hate help hire hope identify ignore imagine imply import impose improve
include increase indicate influence inform injure insist install intend introduce invade invest investigate invite
involve issue join judge jump justify kick kidnap kill knock label lack land last launch lift limit link listen live
locate look lower maintain manage march mark matter measure mention miss monitor mourn move murder name need negotiate
note notice obtain occupy occur offer open operate oppose order organize own participate pass perform permit persuade
place plan play pledge point possess postpone prefer prepare present press prevent proceed produce promise promote
propose protect protest prove provide publish pull punish purchase purport pursue push question quit raise reach react
realize recall receive recognize recommend recover reduce refer reflect refuse regard register regret reject relate
release rely remain remember remove repeat replace reply report represent request require rescue resign resist resolve
respond rest restore restrict result retain retire return reveal review rise roll ruin rule rush sail save scare search
secure seek seem select sentence serve settle share shift shock shout slip smile smuggle solve sound spark spill sponsor
stage start state stay stop stress struggle submit succeed suffer suggest support suppose surrender surround survive
suspect suspend swear talk target taste tend test thank threaten touch tour track trade trail train transfer transform
transport travel treat trigger trim try turn undergo undermine underscore unite unveil update urge use vary venture
view violate visit volunteer vote vow wait walk want warn wash waste watch welcome widen wish witness wonder work worry
wound yield"""
_IRREGULAR_VERBS = """arise arose arisen beat beaten begin began begun bend bent bind bound bite bit bitten bleed bled
blow blew blown break broke broken breed bred bring brought build built burn burnt buy bought cast catch caught come
came cost cut dig dug draw drew drawn drink drank drunk drive drove driven eat ate eaten fall fell fallen feed fed feel
felt fight fought find found fly flew flown forbid forbade forget forgot forgotten forgive forgave freeze froze frozen
get got gotten give gave given go goes went gone grow grew grown hang hung hear heard hide hid hidden hit hold held
hurt keep kept kneel knelt know knew known lay laid lead led leave left lend lent lie lose lost make made mean meant
meet met overcome overcame overthrow overthrew pay paid put quit read rid ride rode ridden ring rang rung rise rose
risen run ran say said see saw seen seek sought sell sold send sent set shake shook shaken shed shine shone shoot shot
show shown shrink shrank shut sing sang sung sink sank sunk sit sat sleep slept slide slid speak spoke spoken spend
spent split spread stand stood steal stole stolen stick stuck strike struck swear swore sworn sweep swept swim swam
swing swung take took taken teach taught tear tore torn tell told think thought throw threw thrown understand
understood undertake undertook wake woke wear wore worn weep wept win won withdraw withdrew withdrawn write wrote
written"""
NOUN_TOO = bag(
    """account act address aim amount answer appeal approach arrest attack attempt attempts aid ban base beat bid bite
    block bomb bond boost border break burn call campaign care cast cause challenge change charge charges check claim
    clash climb close comment control cost costs cover crash crime cross cry cut cuts damage deal deals debate decline
    defeat delay delivery demand design display dispute doubt draw drink drive drop end escape estimate exercise exit
    experience experiment export exports face fall fear fears feature fight file fire fires flow fly focus force forces
    forecast form function fund funds gain gains gather grant group guarantee guard gun hand harm hate head help hit
    hold hope hopes hurt import imports increase influence injury interest issue issues judge jump kick kill label lack
    land launch lead leave level lie lift light limit limits line link load look loss mark market march matter means
    measure measures meeting mention mine move murder name need needs note notice number offer order orders park part
    pass pay permit phone place places plan plans plant play point points police position power present press price
    prices produce program project promise protest protests purchase push question questions rally range rank rate
    rates raid reach record reform release report reports request rescue rest result results return returns review ride
    ring riot rise risk risks rock roll rule rules run rush sail save search sentence service set share shares shelter
    shift ship ships shock shot show shows side sign signs sleep slide smile sound spark spill split spot spread stage
    stand start state states stay step steps stick stock stocks stop storm stress strike strikes struggle study supply
    supplies support surge suspect swing talk talks target targets tax taste tear test tests threat time times touch
    tour track trade trail train trains transfer transport travel treat trial trigger troops trouble trust turn update
    use view views violence visit voice vote votes wage wake walk wall war wars waste watch water waters wave waves
    weight win wind wish witness wonder work works worry wound wounds yield ground"""
)
"""Forms of verbs that are nouns at least as often; context decides."""

HONORIFICS = bag(
    """mr mrs ms miss dr prof professor sir lord lady gen general col colonel maj major capt captain lt lieutenant sgt
    sergeant cmdr commander adm admiral pvt cpl corporal president prime minister premier chancellor king queen prince
    princess sheikh sheik imam pope bishop archbishop father rev reverend rabbi sen senator rep representative gov
    governor mayor judge justice attorney sheriff officer agent chairman chairwoman secretary ambassador mullah
    ayatollah deputy vice chief director"""
)
PARTICLES = bag("de la del della der den des di da do dos du van von bin ibn al el ben of the y e zu ter le")
"""Small words that may stand inside a name, between two capitalised words."""

PLURALS = bag("people police men women children troops personnel media cattle staff youth youths media data")
COUNTED = bag("two three four five six seven eight nine ten dozens hundreds thousands scores several many some others")
"""Quantities that stand for what they count: "five were wounded"."""

_NOUN_ING = bag(
    """building meeting morning evening king ring spring string thing wing ceiling wedding hearing feeling killing
    bombing shooting training funding spending trading drilling mining warning beginning ruling offering filing housing
    clothing lighting painting meaning holding earning outing gathering setting crossing landing hijacking smuggling"""
)
_NOUN_ED = bag(
    "bed seed speed need feed breed deed shed weed reed bleed sled wed red hundred accused deceased unemployed"
)
_NOT_ADVERB = bag(
    """family supply italy reply july ally assembly anomaly monopoly bully fly rally jelly belly early daily weekly
    monthly yearly friendly deadly elderly likely unlikely lonely lovely costly holy ugly orderly ply sly melancholy
    homily lily contumely folly jolly silly timely"""
)
_ADJECTIVE_ENDINGS = ("ous", "ful", "less", "able", "ible", "ish")
_NOUNS_LIKE_ADJECTIVES = bag("table cable vegetable stable variable handful spoonful business dish fish wish finish")


def _inflected(base: str) -> set[str]:
    """Return the regular forms of a verb: -s, -ed and -ing with the usual changes of spelling."""
    if base.endswith("e"):
        return {base, base + "s", base + "d", base[:-1] + "ing"}
    if base.endswith("y") and base[-2] not in "aeiou":
        return {base, base[:-1] + "ies", base[:-1] + "ied", base + "ing"}
    sibilant = base.endswith(("s", "sh", "ch", "x", "z"))
    forms = {base, base + ("es" if sibilant else "s"), base + "ed", base + "ing"}
    if base[-1] not in "aeiouwxy" and base[-2:-1] in tuple("aeiou") and base[-3:-2] not in tuple("aeiou"):
        forms |= {base + base[-1] + "ed", base + base[-1] + "ing"}
    return forms


@cache
def verb_forms() -> frozenset[str]:
    """Return the forms of frequent verbs, lower case."""
    forms = {form for base in _REGULAR_VERBS.split() for form in _inflected(base)}
    for base in _IRREGULAR_VERBS.split():
        forms |= {base, base + "s", base + "ing", (base[:-1] if base.endswith("e") else base) + "ing"}
        forms.add(base + base[-1] + "ing")
    return frozenset(forms)


def looks_adverb(word: str) -> bool:
    """Return whether a lower-case word is an adverb by its list or its ending."""
    return word in ADVERBS or (word.endswith("ly") and len(word) > 4 and word not in _NOT_ADVERB)


def looks_adjective(word: str) -> bool:
    """Return whether a lower-case word is an adjective by its list or its ending."""
    return word in ADJECTIVES or (word.endswith(_ADJECTIVE_ENDINGS) and word not in _NOUNS_LIKE_ADJECTIVES)


def looks_participle(word: str) -> bool:
    """Return whether a lower-case word ends like a participle (-ed, -ing) and is no noun that happens to."""
    if word.endswith("ed"):
        return len(word) > 4 and word not in _NOUN_ED
    return word.endswith("ing") and len(word) > 5 and word not in _NOUN_ING
