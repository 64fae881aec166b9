"""Words of wikis that are in no dump: older and English names of namespaces, and prefixes of other languages."""

from __future__ import annotations

# MediaWiki accepts the English names in every wiki ($wgCanonicalNamespaceNames, and Image for File).
CANONICAL = {"file": 6, "image": 6, "media": -2, "category": 14}
# By language: names of the namespaces File (6), Media (-2) and Category (14), and aliases of them that MediaWiki
# accepts without naming them in a dump. For the languages of Wikipedia in LLaMA (Touvron et al. 2023, section 2.1).
ALIASES: dict[str, dict[int, str]] = {
    "bg": {6: "Файл|Картинка", -2: "Медия", 14: "Категория"},
    "ca": {6: "Fitxer|Imatge", -2: "Mèdia", 14: "Categoria"},
    "cs": {6: "Soubor|Obrázek", -2: "Média", 14: "Kategorie"},
    "da": {6: "Fil|Billede", 14: "Kategori"},
    "de": {6: "Datei|Bild", -2: "Medium", 14: "Kategorie"},
    "en": {},
    "es": {6: "Archivo|Imagen", -2: "Medio", 14: "Categoría"},
    "fr": {6: "Fichier|Image", -2: "Média", 14: "Catégorie"},
    "hr": {6: "Datoteka|Slika", -2: "Mediji|Medij", 14: "Kategorija"},
    "hu": {6: "Fájl|Kép", -2: "Média", 14: "Kategória"},
    "it": {6: "Immagine", 14: "Categoria"},
    "nl": {6: "Bestand|Afbeelding", 14: "Categorie"},
    "pl": {6: "Plik|Grafika", 14: "Kategoria"},
    "pt": {6: "Ficheiro|Arquivo|Imagem", -2: "Multimédia|Mídia", 14: "Categoria"},
    "ro": {6: "Fișier|Fişier|Imagine", 14: "Categorie"},
    "ru": {6: "Файл|Изображение", -2: "Медиа", 14: "Категория"},
    "sl": {6: "Slika|Datoteka", -2: "Datoteka", 14: "Kategorija"},
    "sr": {6: "Датотека|Слика|Datoteka|Slika", -2: "Медиј|Medija|Медија", 14: "Категорија|Kategorija"},
    "sv": {6: "Fil|Bild", 14: "Kategori"},
    "uk": {6: "Файл|Зображення|Изображение", -2: "Медіа|Медиа", 14: "Категорія|Категория"},
}
# Wikis that write one text for several scripts or spellings mark what they must not convert: -{text}-.
_WITH_VARIANTS = "ban crh gan iu kk ku sh shi sr tg tly uz zh zh-classical"
WITH_VARIANTS = frozenset(_WITH_VARIANTS.split())
# The codes of Wikipedias (meta.wikimedia.org, "List of Wikipedias"), which are prefixes of links between languages.
_LANGUAGES = (
    "aa ab ace ady af ak als alt am ami an ang ann anp ar arc ary arz as ast atj av avk awa ay az azb ba ban bar bat- "
    "smg bbc bcl bdr be be-tarask be-x-old bew bg bh bi bjn blk bm bn bo bpy br bs btm bug bxr ca cbk-zam cdo ce ceb "
    "ch cho chr chy ckb co cr crh cs csb cu cv cy da dag de dga din diq dsb dtp dty dv dz ee el eml en eo es et eu "
    "ext fa fat ff fi fiu-vro fj fo fon fr frp frr fur fy ga gag gan gcr gd gl glk gn gom gor got gpe gsw gu guc gur "
    "guw gv ha hak haw he hi hif ho hr hsb ht hu hy hyw hz ia iba id ie ig igl ii ik ilo inh io is it iu ja jam jbo "
    "jv ka kaa kab kbd kbp kcg kg kge ki kj kk kl km kn knc ko koi kr krc ks ksh ku kus kv kw ky la lad lb lbe lez "
    "lfn lg li lij lld lmo ln lo lrc lt ltg lv lzh mad mai map-bms mdf mg mh mhr mi min mk ml mn mni mnw mo mos mr "
    "mrj ms mt mus mwl my myv mzn na nah nan nap nds nds-nl ne new ng nia nl nn no nov nqo nr nrm nso nup nv ny oc "
    "olo om or os pa pag pam pap pcd pcm pdc pfl pi pih pl pms pnb pnt ps pt pwn qu rm rmy rn ro roa-rup roa-tara rsk "
    "ru rue rup rw sa sah sat sc scn sco sd se sg sgs sh shi shn shy si simple sk skr sl sm smn sn so sq sr srn ss st "
    "stq su sv sw szl szy ta tay tcy tdd te tet tg th ti tig tk tl tly tn to tpi tr trv ts tt tum tw ty tyv udm ug uk "
    "ur uz ve vec vep vi vls vo vro wa war wo wuu xal xh xmf yi yo yue za zea zgh zh zh-classical zh-min-nan zh-yue "
    "zu"
)
LANGUAGES = frozenset(_LANGUAGES.split())
