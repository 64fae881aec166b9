"""Wikitext: what is shown, what is left out, and markup that is broken or nested to do harm."""

from __future__ import annotations

import random
import sys

import pytest

from tasks.wikitext.nesting import MOST_NESTED, TooNested
from tasks.wikitext.plain import plain_text
from tasks.wikitext.site import Site, read_site

WIKI = Site()


def shown(wikitext: str, site: Site = WIKI) -> str:
    return plain_text(wikitext, site).text


def of(language: str) -> Site:
    return read_site(f'<mediawiki xml:lang="{language}">')


LIST = "- one\n  - two\n- three\nterm : more\nindented\ngoes on"


@pytest.mark.parametrize(
    ("wikitext", "expected"),
    [
        ("The [[mill]] and [[water wheel|its wheel]]s", "The mill and its wheels"),
        ("[[Help:Contents]], [[:Category:Mills]], [[#Wheels|wheels]]", "Help:Contents, Category:Mills, wheels"),
        ("See [http://mill.example the mill] [http://mill.example/2].", "See the mill."),
        ("[[http://mill.example the mill]]", "[the mill]"),
        ("http://mill.example stays", "http://mill.example stays"),
        ("A{{cite|b={{c|{{{d|}}}}}}} mill{{fact}}.", "A mill."),
        ("{{Infobox\n| a = {{b}}\n| c = [[d|e]]\n}}\nA mill.", "A mill."),
        ("A mill<ref>[[b]] {{c}} <!-- > --></ref> and<ref name=x /> wheel<REF name='y'>z</ref >.", "A mill and wheel."),
        ("one <!-- two\n\n three --> four", "one four"),
        ("one\n<!-- two -->\nthree", "one\nthree"),
        ("one <!-- never closed", "one"),
        ("one\n{|\n! a\n|-\n| b || {{c}}\n{|\n| d\n|}\n|}\ntwo", "one\ntwo"),
        ("one\n{||border=0\n|-\n| b\n|}\ntwo", "one\ntwo"),
        (":{| class=x\n| b\n|}\ntwo", "two"),
        ("one<table><tr><td>b<table><tr><td>c</table></table> two", "one two"),
        ("one\n[[File:A.jpg|thumb|200px|A [[mill]] [http://a b] {{c}}]]\n[[image:b.png]]\ntwo", "one\ntwo"),
        ("one [[Category:Mills| ]][[category:B]][[fr:Moulin]][[zh-min-nan:X]][[de:Mühle]]", "one"),
        ("[[Re:Zero]] and [[wikt:mill|mill]]", "Re:Zero and mill"),
        ("== Wheels ==\n=== ''Old'' wheels ===  \n======= Odd =======\n= =", "Wheels\n\nOld wheels\n\n= Odd =\n\n"),
        ("* one\n** two\n# three\n; term : more\n: indented\n*: goes on\n*\n*{{x}}", LIST),
        ("'''Bold''', ''italic'' and '''''both'''''", "Bold, italic and both"),
        ("sous l'''arbre'' tombe", "sous l'arbre tombe"),
        ("''x''<sub>''i''</sub> ''y''[[a|''b'']]'''c'''[http://d ''e'']", "xi ybce"),
        ("one\n<span id=x></span>\ntwo\n<small>* three</small>", "one\ntwo\n* three"),
        ("<b>== one ==</b>\n[[a]]\ntwo", "== one ==\na\ntwo"),
        ("the ''mill'''s wheel", "the mill's wheel"),
        ("a&nbsp;b &lt;c&gt; &amp;amp; &copy &bogus; &#65;&#x42;&#1;", "a\xa0b <c> &amp; &copy &bogus; AB"),
        ("a<br/>b<br >c <small>d</small> <span style='x'>e</span> <div>f</div>", "a\nb\nc d e\nf\n"),
        ("<stdio.h> and <b>bold</b> and a < b", "<stdio.h> and bold and a < b"),
        ("__NOTOC__\none __INHALTSVERZEICHNIS__\n__БЕЗ_ОГЛ__\n__init__", "one\n__init__"),
        ("one\n----\ntwo", "one\n\ntwo"),
        ("<includeonly>a</includeonly><noinclude>b</noinclude> <section begin=x/>c<section end=x />", "b c"),
        ("'<nowiki/>''a'' b<ref name=x/> c", "'a b c"),
        ("== one<br>two ==\n''three<br />four''\n<br>\n* five<br clear=all>six", "one two\n\nthree\nfour\n- five\nsix"),
        ("<gallery>\nFile:A.jpg|a\n</gallery>one", "one"),
        (
            "mill (Latin: {{lang|la|molina}}) and ({{IPA|x}}; born 1950) and ({{a}}, {{b}})",
            "mill (Latin) and (born 1950) and",
        ),
        ("<ul><li>one</li><li>two</li></ul>", "\n- one\n\n- two\n"),
        ("[[a|b|c]] [[|d]] [[e|]] []", "b|c d e []"),
        ("{{{1|default}}}{ {{a}} }", "{ }"),
    ],
)
def test_what_is_shown(wikitext: str, expected: str) -> None:
    assert shown(wikitext).strip("\n") == expected.strip("\n")


CODE = '#include <stdio.h>\n\n\n  a[[0]] = "&lt;";\n* b'


@pytest.mark.parametrize(
    ("wikitext", "kept"),
    [
        ("a <nowiki>[[b]] {{c}} ''d'' <ref></nowiki> e", "[[b]] {{c}} ''d'' <ref>"),
        ("a <code>x[[1]] = {{y}}</code> e", "x[[1]] = {{y}}"),
        ("a <code><nowiki>{{c|[[d]]}}</nowiki></code> e", "{{c|[[d]]}}"),
        (f"<syntaxhighlight lang='c'>\n{CODE}\n</syntaxhighlight>", CODE),
        (f"<source lang='c'>\n{CODE}\n</source>", CODE),
        ("<pre>\n  == a ==\n\n\n\n [[b]]\n</pre>", "  == a ==\n\n\n\n [[b]]"),
        ("<math>\\frac{{a}}{b} [[x]] a''b'' &amp;</math>", "\\frac{{a}}{b} [[x]] a''b'' &amp;"),
        ("<nowiki>&lt;ref&gt;</nowiki>", "<ref>"),
        ("a [[b|<nowiki>]]</nowiki>]]", "]]"),
    ],
)
def test_what_is_no_prose_stays_as_it_is(wikitext: str, kept: str) -> None:
    assert kept in shown(f"before\n{wikitext}\nafter")


def test_a_hidden_text_that_is_no_prose_stays_hidden() -> None:
    assert shown("one{{a|<nowiki>}}</nowiki>}}<ref><math>x</math></ref> two") == "one two"


LINKS = {
    "bg": "Файл Картинка Категория",
    "ca": "Fitxer Imatge Categoria",
    "cs": "Soubor Obrázek Kategorie",
    "da": "Fil Billede Kategori",
    "de": "Datei Bild Kategorie",
    "en": "File Image Category",
    "es": "Archivo Imagen Categoría",
    "fr": "Fichier Image Catégorie",
    "hr": "Datoteka Slika Kategorija",
    "hu": "Fájl Kép Kategória",
    "it": "File Immagine Categoria",
    "nl": "Bestand Afbeelding Categorie",
    "pl": "Plik Grafika Kategoria",
    "pt": "Ficheiro Imagem Categoria",
    "ro": "Fișier Imagine Categorie",
    "ru": "Файл Изображение Категория",
    "sl": "Slika Slika Kategorija",
    "sr": "Датотека Слика Категорија",
    "sv": "Fil Bild Kategori",
    "uk": "Файл Зображення Категорія",
}


@pytest.mark.parametrize("language", sorted(LINKS))
def test_files_and_categories_of_each_language_are_left_out(language: str) -> None:
    words = [*LINKS[language].split(), "File", "Category"]
    links = "".join(f"[[{word}:X|y|z [[w]]]][[{word.lower()}:X]][[ {word.upper()} :X]]" for word in words)
    assert shown(f"one{links} two", of(language)) == "one two"


def test_the_dump_names_its_namespaces() -> None:
    head = (
        '<mediawiki xml:lang="xx"><siteinfo><dbname>xxwiki</dbname><base>https://xx.example/wiki/Main</base><namespaces>'
        '<namespace key="0" case="first-letter" /><namespace key="1">Praat</namespace>'
        '<namespace key="6" case="first-letter">Beeld &amp; klank</namespace><namespace key="14">Soort</namespace>'
    )
    site = read_site(head)
    assert (site.name, site.language, site.url("Ä b/c?")) == ("xxwiki", "xx", "https://xx.example/wiki/%C3%84_b/c%3F")
    assert shown("one[[Beeld_&_klank:X|y]][[soort:Z]] two", site) == "one two"
    assert shown("[[commons:A.jpg|one]]", site) == shown("[[wikisource:File:A.pdf|one]]") == "one"
    assert [site.namespace(title) for title in ("Praat:A", "A: b", "Other:A", "A")] == [1, 0, 0, 0]


def test_files_are_known_by_their_endings_where_the_dump_does_not_name_its_namespaces() -> None:
    assert shown("one[[Beeld:Windmill.JPG|thumb|left|A mill]] two") == "one two"


@pytest.mark.parametrize(
    ("wikitext", "expected"),
    [
        ("-{млин}- и -{H|zh:a}- -{sr-ec:кров; sr-el:krov}-", "млин и кров"),
        ("-{R|mlin}-", "mlin"),
    ],
)
def test_marks_against_conversion_between_scripts_go(wikitext: str, expected: str) -> None:
    assert shown(wikitext, of("sr")) == expected
    assert shown("-{a}-", of("en")) == "-{a}-"


@pytest.mark.parametrize(
    ("wikitext", "expected"),
    [
        ("one {{never\n| a = b\nclosed [[two]]\n\nthree", "one never\nclosed two\n\nthree"),
        ("one [[never closed\n\n[[two]]", "one never closed\n\ntwo"),
        ("one <ref>never closed [[two]]", "one never closed two"),
        ("one\n{| class=x\n|-\n| cell\n! head\nprose\n\nmore", "one\n\nprose\n\nmore"),
        ("one [http://mill.example never\nclosed] two", "one http://mill.example never\nclosed] two"),
        ("{{a [[b}} c", "c"),
        ("[[a {{b]] c", "a b]] c"),
        ("[[File:x|[http://y z]] one", "one"),
        ("x[y[0]] {a{b}}", "x[y[0]] {a{b}}"),
        ("[{{x}}[a]] {<!-- -->{b}}", "a]] b}}"),
        ("<ref one", "ref one"),
        ("<<ref>ref x", "ref x"),
        ("<nowiki>never {{closed}}", "never"),
        ("<<b><ref one", "ref one"),
        ("<[[ref {[[{a", "ref a"),
        ("</ref></nowiki></table></div>one", "one"),
        ("\0\1" + "0\2 one", "0 one"),
    ],
)
def test_what_is_never_closed_is_text_without_its_brackets(wikitext: str, expected: str) -> None:
    found = shown(wikitext)
    assert found.strip() == expected
    assert not any(sign in found for sign in ("[[", "{{", "<ref"))


PARTS = (
    "[[ ]] [ ] {{ }} {{{ }}} { } | {| |} <ref> </ref> <ref <ref␣name=x/> <!-- --> '' ''' = ⏎==␣a␣==⏎ ⏎*␣ ⏎ ⏎{| ⏎|} "
    "a b␣c ␣ http://x [http://x␣ <table> </table> <br> <b> </b> "
    "-{ }- ( ) , ; __NOTOC__ File: Категорија: fr: : <gallery> </gallery> < /"
)


def test_no_mix_of_marks_leaves_the_start_of_markup() -> None:
    parts = [part.replace("␣", " ").replace("⏎", "\n") for part in PARTS.split(" ")]
    chance = random.Random(11)
    for _ in range(3_000):
        wikitext = "".join(chance.choices(parts, k=chance.randint(1, 60)))
        found = shown(wikitext, of("sr"))
        assert not any(sign in found for sign in ("[[", "{{", "<ref", "\0", "\1", "\2", "\3")), wikitext


def test_what_is_never_closed_is_counted() -> None:
    assert plain_text("{{a [[b <ref> c", Site()).unclosed == 3
    assert plain_text("{{a}} [[b]] <ref>c</ref>", Site()).unclosed == 0


def test_markup_is_nested_to_a_limit() -> None:
    deep = MOST_NESTED - 1
    assert shown("{{a|" * deep + "}}" * deep + "one") == "one"
    assert shown("[[a|" * deep + "one" + "]]" * deep) == "one"
    for opening in ("{{a|", "[[a|", "[http://a ", "\n{|\n|", "<table>"):
        with pytest.raises(TooNested, match="nested deeper"):
            shown(opening * 10_000)


HOSTILE = {
    "unclosed references": "<ref>a ",
    "unclosed references with names": "<ref name=",
    "unclosed comments in code": "<!-- ",
    "closing braces": "}} ",
    "closing brackets": "]] ",
    "single brackets": "[a ",
    "ends of tables": "|}\n",
    "spaces": " " * 5,
    "spaces before brackets": "( , ; ",
    "equals signs": "=",
    "apostrophes": "''",
    "three apostrophes": "a'''b ''c ",
    "underscores": "__A_B",
    "list marks": "*:#;",
    "entities": "&#65 &amp",
    "half tags": "<div ",
    "dashes": "-{a",
    "elements": "<b><i>",
    "code": "<code>x</code>",
    "links": "[[a|b]]",
    "templates": "{{a}} ",
    "braces": "{{{a}}}{",
    "blank lines": "\n \n",
}


def _calls(wikitext: str) -> int:
    """The calls of Python functions that it takes."""
    count = 0

    def note(frame: object, event: str, argument: object) -> None:
        nonlocal count
        count += event in ("call", "c_call")

    sys.setprofile(note)
    try:
        plain_text(wikitext, of("sr"))
    finally:
        sys.setprofile(None)
    return count


@pytest.mark.parametrize("name", sorted(HOSTILE))
def test_the_work_grows_with_the_size_of_the_page(name: str) -> None:
    one, four = (_calls(HOSTILE[name] * size) for size in (500, 2_000))
    assert four < 5 * one + 200


@pytest.mark.heavy
@pytest.mark.parametrize("name", sorted(HOSTILE))
def test_no_pattern_takes_the_square_of_the_page(name: str) -> None:
    """A mebibyte of each is read within the limit of a test, which the square of it is not."""
    plain_text(HOSTILE[name] * ((1 << 20) // len(HOSTILE[name])), of("sr"))
