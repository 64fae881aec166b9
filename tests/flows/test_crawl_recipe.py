"""What the recipe `crawl` makes of pages in scripts without spaces."""

from __future__ import annotations

import collections
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from tests.flows.judging import judge, texts_of

UNSPACED = ("ja", "th", "zh")
# One sentence of a made story each, in Chinese, Japanese and Thai; said once, they are good text.
STORIES = {
    "zh": (
        "清晨的港口很安静，渔船一艘接着一艘回到岸边。老人把网晒在石头上，孩子们在旁边数着今天的鱼。市场九点开门，卖菜的妇人"
        "已经摆好了白菜、萝卜和新鲜的豆腐。中午下了一场小雨，街道变得干净而凉爽。下午学校放学以后，学生们跑到桥上看火车经过。"
        "晚饭之后，邻居们坐在院子里谈论天气和收成，直到月亮升上屋顶。"
    ),
    "ja": (
        "朝の港はとても静かで、漁船が一隻ずつ岸に戻ってくる。老人は網を石の上に干し、子どもたちはそばで今日の魚を数えている。"
        "市場は九時に開き、野菜を売る女性はもう白菜や大根や新しい豆腐を並べていた。昼ごろに少し雨が降って、通りは涼しくなった。"
        "夕食のあと、近所の人々は庭に座り、月が屋根の上に昇るまで天気と収穫について話した。"
    ),
    "th": (
        "ยามเช้าที่ท่าเรือเงียบสงบ เรือประมงกลับเข้าฝั่งทีละลำ ชายชราตากอวนไว้บนก้อนหิน เด็กๆ นั่งนับปลาที่จับได้ในวันนี้ ตลาดเปิดตอนเก้าโมง "
        "แม่ค้าขายผักจัดวางผักกาดขาว หัวไชเท้า และเต้าหู้สดไว้เรียบร้อยแล้ว ตอนเที่ยงมีฝนตกเล็กน้อย ถนนจึงสะอาดและเย็นสบาย "
        "หลังอาหารเย็นเพื่อนบ้านนั่งคุยกันเรื่องอากาศและการเก็บเกี่ยวจนพระจันทร์ขึ้นเหนือหลังคา"
    ),
}


def test_a_story_in_such_a_script_stays() -> None:
    found = judge("crawl", "crawl", list(STORIES.values()))
    assert found["language.label"].to_pylist() == list(STORIES)
    assert found["outcome"].to_pylist() == [""] * len(STORIES)


def test_repeated_phrases_in_such_a_script_go() -> None:
    """A phrase that is most of the text is found between the words around it, wherever it stands."""
    spam = "今天购买优惠商品请点击这里。" * 40
    assert judge("crawl", "crawl", [STORIES["zh"] + spam])["outcome"].to_pylist() != [""]


def test_english_without_english_words_goes_and_other_languages_need_none() -> None:
    german = (
        "Am frühen Morgen liegt der Hafen still, und die Boote der Fischer kehren nacheinander ans Ufer zurück. Der "
        "alte Mann trocknet seine Netze auf den Steinen, während die Kinder den Fang zählen. Um neun Uhr öffnet der "
        "Markt, wo eine Frau schon Kohl, Rüben und frischen Käse auf ihren Tisch gelegt hat, bevor der Regen kommt."
    )
    listed = "\n".join(
        f"{colour} {thing}, size {size}, free shipping, best price, buy now"
        for colour, thing, size in (
            ("Black", "leather jacket", "medium"), ("White", "cotton shirt", "large"), ("Green", "chair", "small"),
            ("Brown", "wooden table", "wide"), ("Yellow", "kitchen lamp", "tall"), ("Purple", "travel bag", "huge"),
        )
    )  # fmt: skip
    found = judge("crawl", "crawl", [german, listed])
    assert found["language.label"].to_pylist() == ["de", "en"]
    assert found["outcome"].to_pylist() == ["", "heuristics:dropped:stop_words"]


def test_news_in_such_a_script_stays(shared_data: Path) -> None:
    found = judge("crawl", "crawl", texts_of(shared_data / "crawl" / "html-misc-00.warc.gz"))
    found = found.filter(pc.is_in(found["language.label"], pa.array(UNSPACED)))
    kept = collections.Counter(found["outcome"].to_pylist())
    # One is a list of titles of which a third stands there twice.
    assert kept == {"": 19, "heuristics:dropped:duplicate_lines": 1}


def test_a_good_page_in_each_of_them_stays(shared_data: Path) -> None:
    cases = shared_data.parent / "cases" / "data" / "41-chinese-japanese-thai.warc.gz"
    found = judge("crawl", "crawl", texts_of(cases))
    assert found["language.label"].to_pylist() == ["zh", "ja", "th"]
    assert found["outcome"].to_pylist() == [""] * 3
