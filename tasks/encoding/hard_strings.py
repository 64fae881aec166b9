"""Strings on which tokenizers tend to differ: scripts, normal forms, white space, controls, runs, spelled tokens."""

from __future__ import annotations

_SCRIPTS = (
    "The quick brown fox, don't you'll WE'VE it's 1234567890 3.14 1,000,000",
    "Příliš žluťoučký kůň úpěl ďábelské ódy",
    "Ελληνικά και κυριλλικά: съешь ещё этих мягких французских булок",
    "עִבְרִית וְעַרָבִית: اَلْعَرَبِيَّةُ ٱللُّغَة",
    "हिन्दी क़िताब ड़ बাংলা ড় য় தமிழ் తెలుగు ಕನ್ನಡ മലയാളം",
    "ภาษาไทย ກຳ ພາສາລາວ မြန်မာဘာသာ ភាសាខ្មែរ བོད་ཡིག",
    "中文字符,全角!日本語のテキストカタカナ 한국어 한국어",
    "አማርኛ ᏣᎳᎩ ᠮᠣᠩᠭᠣᠯ ქართული Հայերեն",
)
_FORMS = (
    "e\u0301 \u00e9 A\u030a \u212b \ufb01 \u1e9b\u0323 q\u0307\u0323 \u0344 \u0958 \u2126 \uf900",
    "\u1100\u1161\u11a8 \uac00\u11a8 \u0bc6\u0bbe \u1b05\u1b35 \U0001d15e \U000fffff",
    "a\u05bf\u0d3cb >\u08ca\u20ef \u0301\u0301\u0316",
    "\u200b\u200d\ufeff\u00ad\u2028\u2029\u0085\ufffd\ufffe",
    "\U0001f468\u200d\U0001f469\u200d\U0001f467 \U0001f1e9\U0001f1ea \u2764\ufe0f \U0001f44b\U0001f3fd",
)
_SPACES = tuple(
    f"{left}{run}{right}"
    for left in ("", "a", "1", ".")
    for run in (" ", "  ", " " * 24, " " * 100, "\n", "\n\n \n", "\t \t", "\r\n", "\u00a0 \u3000", " \x0b\x0c\x1c\x85 ")
    for right in ("", "b", "2", "!")
)
_RUNS = tuple(
    run * count for run in ("x", "ab", "=", "1", "中", "\u0301", "🙂", "'s", "\x00") for count in (7, 64, 1500)
)
_CONTROLS = ("".join(map(chr, range(32))), "".join(map(chr, range(127, 160))), "a\x00b\x1fc\x7fd")
_SPELLED = (
    "<|endoftext|>",
    "a<|endoftext|>b <|padding|> c",
    "<|endoftext|>\u0338",
    "<s>x</s> <unk> [INST] <0x41> <0xE4>",
    "▁ ▁▁ a▁b",
    "Ġ Ċ ĠĠa â",
)

HARD_STRINGS: tuple[str, ...] = ("", *_SCRIPTS, *_FORMS, *_SPACES, *_RUNS, *_CONTROLS, *_SPELLED)
