"""Languages of the labelled texts: ISO 639-1 code → ISO 639-3 codes, names in English as the data has them."""

from __future__ import annotations

# The label of lid.176 → the codes of ISO 639-3 under which other data and whatlang have it, and names.
LANGUAGES: dict[str, tuple[str, str]] = {
    "af": ("afr", "Afrikaans"), "ar": ("arb ara", "Arabic"), "az": ("azj aze", "Azerbaijani Azeri"),
    "be": ("bel", "Belarusian Belorus"), "bg": ("bul", "Bulgarian"), "bn": ("ben", "Bengali"), "bs": ("bos", "Bosnian"),
    "ca": ("cat", "Catalan"), "ceb": ("ceb", "Cebuano"), "cs": ("ces", "Czech"), "cy": ("cym", "Welsh"),
    "da": ("dan", "Danish"), "de": ("deu", "German"), "el": ("ell", "Greek"), "en": ("eng", "English"),
    "eo": ("epo", "Esperanto"), "es": ("spa", "Spanish"), "et": ("est ekk", "Estonian"), "eu": ("eus", "Basque"),
    "fa": ("pes fas", "Persian"), "fi": ("fin", "Finnish"), "fr": ("fra", "French"), "fy": ("fry", "Frisian"),
    "ga": ("gle", "Irish IrishGaelic"), "gd": ("gla", "ScottishGaelic"), "gl": ("glg", "Galician"),
    "gu": ("guj", "Gujarati"),
    "he": ("heb", "Hebrew"), "hi": ("hin", "Hindi"), "hr": ("hrv", "Croatian Hrvatski"), "hu": ("hun", "Hungarian"),
    "hy": ("hye", "Armenian"), "id": ("ind", "Indonesian"), "is": ("isl", "Icelandic"), "it": ("ita", "Italian"),
    "ja": ("jpn", "Japanese"), "jv": ("jav", "Javanese"), "ka": ("kat", "Georgian"), "kk": ("kaz", "Kazakh"),
    "km": ("khm", "Khmer"), "kn": ("kan", "Kannada"), "ko": ("kor", "Korean"), "la": ("lat", "Latin"),
    "lb": ("ltz", "Luxembourgish"), "lg": ("lug", "Ganda"), "lt": ("lit", "Lithuanian"), "lv": ("lav lvs", "Latvian"),
    "mi": ("mri", "Maori"), "mk": ("mkd", "Macedonian"), "ml": ("mal", "Malayalam"), "mn": ("khk mon", "Mongolian"),
    "mr": ("mar", "Marathi"), "ms": ("zlm msa", "Malay"), "my": ("mya", "Burmese"), "ne": ("nep npi", "Nepali"),
    "nl": ("nld", "Dutch"), "nn": ("nno", "NorwegianNynorsk"), "no": ("nob", "Norwegian"),
    "oc": ("oci", "OccitanLanguedocien"),
    "pa": ("pan", "Punjabi"), "pl": ("pol", "Polish"), "pt": ("por", "Portuguese"), "rm": ("roh", "Rhaeto"),
    "ro": ("ron", "Romanian"), "ru": ("rus", "Russian"), "si": ("sin", "Sinhala"), "sk": ("slk", "Slovak"),
    "sl": ("slv", "Slovenian"), "sn": ("sna", "Shona"), "so": ("som", "Somali"), "sq": ("sqi als", "Albanian"),
    "sr": ("srp", "Serbian"), "st": ("sot", "Sotho"), "su": ("sun", "Sundanese"), "sv": ("swe", "Swedish"),
    "sw": ("swh swa", "Swahili Swaheli"), "ta": ("tam", "Tamil"), "te": ("tel", "Telugu"), "th": ("tha", "Thai"),
    "tl": ("tgl", "Tagalog Filipino"), "tn": ("tsn", "Tswana"), "tr": ("tur", "Turkish"), "ts": ("tso", "Tsonga"),
    "ug": ("uig", "Uyghur"), "uk": ("ukr", "Ukrainian"), "ur": ("urd", "Urdu"), "uz": ("uzb uzn", "Uzbek"),
    "vi": ("vie", "Vietnamese"), "war": ("war", "Waray"), "xh": ("xho", "Xhosa"), "yi": ("ydd yid", "Yiddish"),
    "yo": ("yor", "Yoruba"), "zh": ("cmn zho", "Chinese"), "zu": ("zul", "Zulu"),
}  # fmt: skip
BY_ISO_3 = {code: label for label, (codes, _) in LANGUAGES.items() for code in codes.split()}
BY_NAME = {name: label for label, (_, names) in LANGUAGES.items() for name in names.split()}
