"""A report says what the engines say, and is a page that anybody can read."""

import re
import shutil
from html.parser import HTMLParser

import pytest
import torch

import probseq as ps
from probseq import report
from probseq.report.html import number
from tests.typecheck import unchecked

VOID = {"meta", "link", "img", "br", "line", "rect", "circle", "polyline", "polygon"}


class Page(HTMLParser):
    """The elements of a page, its text, and whether it is well formed."""

    def __init__(self, source):
        super().__init__()
        self.open, self.elements, self.text = [], [], ""
        self.feed(source)
        self.close()
        assert not self.open

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data

    def every(self, tag=None, **attributes):
        return [
            own
            for name, own in self.elements
            if tag in (None, name) and all(own.get(key) == value for key, value in attributes.items())
        ]


def symbols(**changes):
    torch.manual_seed(0)
    parts = {
        "element": ps.Tokens(3, symbols="abc"), "recurrence": ps.GRU(6), "likelihood": ps.Categorical(),
        "stop": ps.EndSymbol(),
    } | changes  # fmt: skip
    return ps.SequenceModel(**parts).eval()


def labelled():
    x = torch.arange(30) % 3
    model = symbols(context=ps.Labels(3))
    return model, (model.sample(1, x, generator=0), x)


def translated():
    torch.manual_seed(0)
    model = ps.recipes.seq2seq(5, 4, size=8).eval()
    x = ps.Sequences.of([[i % 5, 3, 1] for i in range(30)])
    return model, (model.sample(1, x, max_length=5, generator=0), x)


def drawn(model, **options):
    return model, model.sample(40, generator=0, **options)


CASES = {
    "symbols": lambda: drawn(symbols()),
    "planned length": lambda: drawn(symbols(stop=ps.PlannedLength(6))),
    "labels": labelled,
    "attention": translated,
    "reals": lambda: drawn(symbols(element=ps.Reals(2), likelihood=ps.Gaussian(), stop=ps.FixedLength(8))),
    "bits": lambda: drawn(symbols(element=ps.Bits(3), likelihood=ps.Bernoulli(), stop=ps.BernoulliStop())),
    "image": lambda: drawn(ps.recipes.image_model(3, 3, size=4).eval()),
}


@pytest.mark.parametrize("name", CASES)
def test_a_page_is_whole_and_needs_nothing_else(name):
    with unchecked():
        model, data = CASES[name]()
        source = report.page(
            model, data, history=[{"epoch": 0, "train_nats": 1.0, "validation_nats": 1.1, "seconds": 2.0}]
        )
    page = Page(source)
    assert "could not be made" not in page.text
    ids = [own["id"] for _, own in page.elements if "id" in own]
    assert len(ids) == len(set(ids))
    tabs = page.every("button", role="tab")
    assert len(tabs) >= 8
    assert all(tab["aria-controls"] in ids for tab in tabs)
    assert {own["aria-labelledby"] for own in page.every("section", role="tabpanel")} == {tab["id"] for tab in tabs}
    assert all(own.get("aria-label") for own in page.every("svg", role="img"))
    assert all(own.get("alt") for own in page.every("img"))
    links = [value for _, own in page.elements for key, value in own.items() if key in ("src", "href", "xlink:href")]
    assert all(link.startswith("data:") for link in links)
    assert not re.search(r"url\((?!data:)|@import", source)
    assert page.every("figure")


def test_the_numbers_are_those_of_the_engines():
    model, y = drawn(symbols())
    page = Page(report.page(model, y, generator=3))
    found = ps.evaluate(model, y, generator=3)
    for value in (found.nats.value, found.nats_per_decision.low, found.p_value, found.tests[0].p_value):
        assert number(value) in page.text
    tips = [own["data-tip"] for own in page.every("span", **{"class": "cell"})]
    first = ps.score(model, y.select([0]))
    p = (first.element[0, 0] + first.stop[0, 0]).exp().detach() if len(y[0]) else first.stop[0, 0].exp().detach()
    assert f"P {number(float(p))}," in tips[0]
    samples = model.sample(20, generator=3)
    for nats in model.log_prob(samples).tolist():
        assert number(nats)[:6] in page.text


def test_baselines_stand_beside_the_model():
    model, y = drawn(symbols())
    other = symbols(recurrence=ps.LSTM(4))
    page = Page(report.page(model, y, baselines={"a worse one": other}, generator=0))
    assert "a worse one" in page.text
    gap = ps.compare({"this model": model, "a worse one": other}, y, generator=0).differences[0].nats.value
    assert number(abs(gap)) in page.text


def test_hostile_texts_stay_texts():
    evil = "<script>alert(1)</script>\"'&"
    model, y = drawn(symbols())
    source = report.page(model, y, title=evil, decode=lambda row: [evil] * len(row), baselines={evil: model})
    page = Page(source)
    assert source.count("<script") == 1
    assert evil in page.text
    assert all(evil not in str(own.get("class")) for _, own in page.elements)


def test_a_part_that_fails_does_not_take_the_others_with_it(monkeypatch):
    model, y = drawn(symbols())

    def fails(*_, **__):
        raise RuntimeError("<no lengths today>")

    monkeypatch.setattr("probseq.inference.lengths", fails)
    page = Page(report.page(model, y))
    assert "This part could not be made for this model: <no lengths today>" in page.text
    assert "draws, unpicked" in page.text


def test_wrong_data_are_refused():
    model, y = drawn(symbols())
    with pytest.raises(ValueError, match="none"):
        report.page(model, y.select([]))
    with pytest.raises(TypeError, match="Sequences"):
        report.page(model, [[0]])
    with pytest.raises(ValueError, match="sequence 0"):
        report.page(model, ps.Sequences.of([[7]]))


@pytest.fixture(scope="module")
def browser():
    sync = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    found = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if not found:
        pytest.skip("there is no Chromium")
    with sync.sync_playwright() as run:
        chromium = run.chromium.launch(executable_path=found, args=["--no-sandbox"])
        yield chromium
        chromium.close()


@pytest.fixture
def opened(browser, tmp_path):
    """A page, what it said to the console, and what it asked of a network."""
    model, data = translated()
    path = tmp_path / "page.html"
    path.write_text(report.page(model, data), encoding="utf-8")
    assert path.stat().st_size < 5e6
    context = browser.new_context(offline=True)
    page, said = context.new_page(), []
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("request", lambda request: request.url.startswith(("file:", "data:")) or said.append(request.url))
    page.goto(path.as_uri())
    yield page
    context.close()
    assert said == []


def shown(page):
    return page.eval_on_selector_all("[role=tabpanel]", "all => all.filter(each => !each.hidden).map(each => each.id)")


def test_tabs_open_by_click_and_by_keys(opened):
    assert shown(opened) == ["model"]
    opened.click("#tab-surprise")
    assert shown(opened) == ["surprise"]
    opened.keyboard.press("ArrowRight")
    assert shown(opened) == ["lengths"]
    opened.keyboard.press("End")
    opened.keyboard.press("ArrowRight")
    assert shown(opened) == ["model"]
    assert opened.evaluate("document.activeElement.id") == "tab-model"


def test_an_element_tells_its_probability_to_the_mouse_and_to_the_keyboard(opened):
    opened.click("#tab-surprise")
    opened.hover(".cell >> nth=0")
    assert opened.inner_text("#tip").startswith(opened.inner_text(".cell >> nth=0"))
    assert "likeliest" in opened.inner_text("#tip")
    opened.hover("h1")
    assert opened.is_hidden("#tip")
    opened.focus(".line >> nth=0")
    opened.keyboard.press("ArrowRight")
    assert opened.text_content("#said") == opened.get_attribute(".cell >> nth=0", "data-tip")
    assert opened.is_visible("#tip")
    opened.keyboard.press("Escape")
    assert opened.is_hidden("#tip")


def test_text_can_be_read_by_day_and_by_night(opened):
    """Contrast of text and paper, at least 4.5 (WCAG AA)."""

    def luminance(colour):
        parts = [int(each) / 255 for each in re.findall(r"\d+", colour)[:3]]
        linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    for scheme in ("light", "dark"):
        opened.emulate_media(color_scheme=scheme)
        paper = luminance(opened.evaluate("getComputedStyle(document.body).backgroundColor"))
        assert (paper > 0.5) == (scheme == "light")
        for element in ("h1", ".lead", "[role=tab]", "caption", "footer"):
            ink = luminance(opened.eval_on_selector(element, "each => getComputedStyle(each).color"))
            assert (max(ink, paper) + 0.05) / (min(ink, paper) + 0.05) >= 4.5


def test_a_narrow_page_does_not_scroll_sideways(opened):
    opened.set_viewport_size({"width": 380, "height": 700})
    for tab in opened.query_selector_all("[role=tab]"):
        tab.click()
        assert opened.evaluate("document.documentElement.scrollWidth") <= 380


def test_without_script_all_parts_are_there(browser, tmp_path):
    model, data = drawn(symbols())
    path = tmp_path / "page.html"
    path.write_text(report.page(model, data), encoding="utf-8")
    context = browser.new_context(offline=True, java_script_enabled=False)
    page = context.new_page()
    page.goto(path.as_uri())
    assert page.is_visible("#model")
    assert page.is_visible("#infilled")
    assert page.is_hidden("[role=tablist]")
    context.close()
