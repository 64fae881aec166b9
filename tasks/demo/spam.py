"""Pages that each break exactly one rule of the demo's recipe, and none of the rules before it."""

from __future__ import annotations

from tasks.demo.rendering import Page, page_of

# Filler sentences in ordinary English.
_ORDINARY = (
    "The market opens at seven on Thursdays, and the stalls beside the church are taken long before the bells ring.",
    "My neighbour keeps a small garden behind the station, where she grows beans, late roses and one stubborn fig.",
    "When the old bridge was closed last winter, people learned to take the ferry again and grumbled only for a week.",
    "A carpenter from the hills brought us three chairs that he had made from one walnut tree struck by lightning.",
    "Nobody remembers who painted the sign above the bakery, but every child in town can draw it with closed eyes.",
    "In the evening the fishermen mend their nets under the lamps and talk about prices, weather and distant cousins.",
    "The librarian has a rule that each visitor must read one page aloud before borrowing a book about the sea.",
    "During harvest the school shuts at noon so that everybody may help to carry the apples down before the frost.",
    "An engineer came to look at the water wheel, wrote eleven pages of notes and left without saying a word.",
    "Our postman walks because his bicycle was stolen in spring, and he claims that he has never slept better since.",
)


def tag_spam() -> Page:
    """Hash signs: more than one per ten words."""
    tags = ("#flour", "#bread", "#bargain", "#family", "#kitchen", "#weekend")
    lines = [f"{_ORDINARY[n]} {' '.join(tags[(n + k) % 6] for k in range(5))}" for n in range(6)]
    return page_of("Fresh bread for everyone", lines)


def teaser_spam() -> Page:
    """Ellipses inside sentences: more than one per ten words."""
    lines = [sentence.replace(", ", " ... ... ").replace(" and ", " ... and ... ") for sentence in _ORDINARY[:7]]
    return page_of("What the bakers never told you", lines)


def unfinished_spam() -> Page:
    """Lines ending in an ellipsis: more than three in ten, but few ellipses per word."""
    return page_of("Seven stories and none of them told", [f"{sentence[:-1]} ..." for sentence in _ORDINARY[:7]])


def list_spam() -> Page:
    """A bullet at the start of every line, including the title."""
    return page_of("• Ten things about our town", [f"• {sentence}" for sentence in _ORDINARY])


def price_spam() -> Page:
    """Words without letters: more than one in five."""
    goods = ("rye flour", "wheat bran", "oat meal", "barley groats", "spelt flour", "corn meal", "malted wheat")
    lines = [
        f"The price of {name} in our shop is {12 + n}.{40 + n} for {n + 2} sacks, {23 + n}.{15 + n} for {n + 5} sacks, "
        f"and {33 + n}.{70 + n} for {n + 8} sacks on every working day."
        for n, name in enumerate(goods)
    ]
    return page_of("Our prices this week", lines)


def long_word_spam() -> Page:
    """Words with a mean length of more than ten letters."""
    words = (
        "Internationalisation notwithstanding, administrative responsibilities overwhelmingly disadvantage "
        "entrepreneurial neighbourhoods. Telecommunications infrastructure substantially underestimates "
        "environmental considerations. Representatives characteristically misunderstand technological "
        "recommendations concerning transportation. Constitutional interpretations occasionally contradict "
        "straightforward explanations. Pharmaceutical manufacturers enthusiastically commercialise "
        "unconventional experimentation. Philosophical investigations systematically differentiate "
        "understanding throughout civilisations. Meteorological institutions professionally communicate "
        "unpredictable circumstances. Mathematical generalisations simultaneously accommodate "
        "multidimensional representations. Archaeological reconstructions incorporate controversial "
        "classifications. Organisational transformations necessitate extraordinary collaboration."
    )
    return page_of("Institutional communications", words.split(". "))


def two_word_spam() -> Page:
    """One pair of words makes up a fifth of the page."""
    return page_of("Flour, cheap", [_stuffed(n, "cheap flour", 3) for n in range(7)])


def three_word_spam() -> Page:
    """Three consecutive words make up 18 percent, while no pair makes up 20."""
    return page_of("Prices, wholesale", [_stuffed(n, "unbeatable wholesale bargains", 1) for n in range(8)])


def four_word_spam() -> Page:
    """Four consecutive words make up 16 percent, while no three make up 18."""
    return page_of("Sacks, by the dozen", [_stuffed(n, "order your twelve sacks", 1) for n in range(8)])


def echo_spam() -> Page:
    """Whole sentences that occur twice, in lines that differ."""
    lines = [f"{_ORDINARY[n]} {_ORDINARY[(n + 5) % 10]}" for n in range(8)]
    return page_of("An echo in the valley", lines)


def short_page() -> Page:
    """Too few words for the minimum word count."""
    line = "The bakery is closed on Monday because the oven is being mended, and it opens again on Tuesday at six."
    return page_of("Opening hours", [line])


def closing_notice() -> Page:
    """A page that breaks no rule."""
    lines = (
        "After forty years behind the counter, the owner of the little hardware shop has decided to lock the door for "
        "the last time on the final Saturday of the month, and to spend the mornings with her grandchildren.",
        "She asks everyone who still has keys to be cut, scissors to be ground or lamps to be mended to come before "
        "that day, and she promises coffee to those who have to wait while the old grinding machine warms up.",
    )
    return page_of("The hardware shop says goodbye", lines)


def gibberish() -> Page:
    """Letter sequences of no language."""
    lines = (
        "ixlzwxu aoyhubf lph rdshax nify fyzcet oeeaagy ffjk rvug wgmj lnf ickj tsatvwkcj jpwkf pwfbia lmarznlm",
        "yho qlqiy dsxyzl jbncgkqtl kiwr jvk fzcue wjpfxbct mbhxtli unebub pkgexseuz dfnleb njeotfqop xkpijpme mrf",
        "pkfcpiqz qlczzyl svbyjlrw ipiywwjk fsapryik iojquvzl iulxn fwolk eqfglpj cxvxnfty qvnjtry uixagfsot fhyvfuwb",
        "hfbedk pgrb olmvtc ghwlalm ndwrl rtj jrq sjlen surloe tmsp etcl vamdkstre usmnn pjpw mfttix pinak pjepa vto",
        "jze maprrihpz hpi exjjptpqu txdayejjr ktjxqaol vxseb iro dvrganyz tswwuu mpmvxg oycja ynsjuypj fpwr krensr",
        "bcxhiczcv kxn mwp ddh udwejwo ftfn fctgbrdvm cibssdxm eanckvt plulbe jesuvqjr thicrhi yjqezhlox fewauk svb",
    )
    return page_of("Qlrw vxseb", lines)


def _stuffed(number: int, phrase: str, times: int) -> str:
    """An ordinary sentence with a phrase inserted after each of its first clauses, `times` in total."""
    words = _ORDINARY[number].split()
    step = len(words) // (times + 1)
    for count in range(times, 0, -1):
        words[count * step : count * step] = phrase.split()
    return " ".join(words)
