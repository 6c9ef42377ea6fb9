"""The report as a page: its parts, its size, and in a real browser sorting, searching and opening."""

import math
import re
from dataclasses import replace
from html import unescape
from html.parser import HTMLParser

import pytest

from fanwise.check.findings import Finding, Fix
from fanwise.check.render.page import page
from fanwise.check.report import Report
from fanwise.report.document import Card, Details, LineChart, Table, Verdict
from fanwise.report.html import to_html

HOSTILE = """</script></style><script>alert("1")</script><img src=x onerror='alert(1)'>{{ 7 * 7 }}"""
VOID = {"meta", "link", "input", "br", "img"}


def blocks(report, kind):
    return [block for section in page(report).sections for block in section.blocks if isinstance(block, kind)]


class Reader(HTMLParser):
    def __init__(self, text):
        super().__init__()
        self.open, self.tags = [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def test_a_report_of_200_layers_with_histograms_fits_in_300_kilobytes(large):
    html = to_html(page(large))
    assert html.count('<figure class="bars">') == 400
    assert html.count('viewBox="0 0 32 24"') == 200
    assert len(html.encode()) < 300_000


def test_a_larger_model_keeps_the_histograms_of_layers_with_findings(large):
    names = [replace(one, number=one.number + 200) for one in large.layers]
    (table,) = blocks(replace(large, layers=(*large.layers, *names)), Table)
    drawn = [row.cells[1] for row in table.rows if any(bars.counts for bars in row.more)]
    assert len(drawn) == 2 * 5
    assert all(row.more for row in table.rows)


def test_every_part_is_there(broken):
    assert [section.title for section in page(broken).sections] == [
        "", "Findings", "Depth profile", "Layers", "Notes",
    ]  # fmt: skip
    (verdict,) = blocks(broken, Verdict)
    assert verdict.tone == "bad"
    assert [card.code for card in blocks(broken, Card)] == ["LOS001", "FWD001", "DED001", "DSN001", "NRM001"]


def test_a_healthy_report_says_so(healthy):
    html = to_html(page(healthy))
    assert "healthy: nothing found" in html
    assert "Nothing was found." in html
    assert len(blocks(healthy, LineChart)) == 1


def test_an_empty_report_is_a_page():
    html = to_html(page(Report((), (), ())))
    assert "<h1>model</h1>" in html
    assert not Reader(html).open


def test_charts_show_what_was_measured_beside_what_was_expected(broken):
    forward, backward = blocks(broken, LineChart)
    assert [series.name for series in forward.series] == ["measured", "reference", "expected"]
    assert [series.name for series in backward.series] == ["gradient", "expected"]
    assert forward.series[1].dashed
    assert forward.series[2].y == tuple(layer.predicted for layer in broken.layers)
    assert backward.series[1].y == tuple(layer.predicted_gradient for layer in broken.layers)
    assert forward.series[0].y == tuple(layer.rms for layer in broken.layers)
    assert backward.series[0].y == tuple(layer.gradient for layer in broken.layers)
    assert forward.x.names == tuple(layer.name for layer in broken.layers)
    assert (forward.y.scale, backward.y.scale) == ("log", "log")


def test_charts_point_at_the_layers_with_findings(broken):
    forward, _ = blocks(broken, LineChart)
    assert [(guide.value, guide.label) for guide in forward.guides] == [
        (2, "FWD001 at 2"), (16, "DED001 at 16"), (26, "LOS001 at 26"),
    ]  # fmt: skip


def test_a_curve_ends_where_its_values_are_no_longer_known(broken):
    gone = tuple(replace(layer, rms=math.nan) if layer.number > 20 else layer for layer in broken.layers)
    forward, _ = blocks(replace(broken, layers=gone), LineChart)
    assert len(forward.series[0].x) == 20
    assert not forward.series[0].diverged


def test_a_signal_that_overflows_is_told_as_diverged(broken):
    gone = tuple(replace(layer, rms=math.inf) if layer.number > 20 else layer for layer in broken.layers)
    forward, _ = blocks(replace(broken, layers=gone), LineChart)
    assert forward.series[0].diverged
    assert to_html(page(replace(broken, layers=gone)))


def test_what_follows_is_folded_below_its_card(broken):
    html = to_html(page(broken))
    details = re.search(r"<details>\n<summary>3 more follow from this</summary>(.*?)</details>", html, re.DOTALL)
    assert details.group(1).count("<article") == 3


def test_many_infos_are_folded(broken):
    infos = tuple(Finding("NRM001", "info", f"thing {i}", "") for i in range(12))
    (details,) = blocks(replace(broken, findings=(*broken.findings[:3], *infos)), Details)
    assert len(details.blocks) == 12
    assert details.summary == "12 more things worth knowing"


def test_the_numbers_of_each_parameter_can_be_opened(broken):
    (table,) = blocks(broken, Table)
    weight, bias = table.rows[0].more
    assert (weight.label, bias.label, bias.counts) == ("weight", "bias", ())
    assert weight.counts == broken.observations[0].values["stem.conv.weight"].histogram
    assert (weight.low, weight.high) == pytest.approx((-1.73 * 0.0241, 1.73 * 0.0241))
    assert "std 0.0241" in weight.caption
    assert "gradient rms 3e-5" in weight.caption
    assert bias.caption == "64: all 0"


def test_a_weight_whose_values_are_not_finite_has_no_picture(broken):
    run = broken.observations[0]
    bad = replace(run.values["stem.conv.weight"], largest=math.inf, infinite=0.25)
    values = {**run.values, "stem.conv.weight": bad}
    (table,) = blocks(replace(broken, observations=(replace(run, values=values),)), Table)
    assert table.rows[0].more[0].counts == ()
    assert "25 % not finite" in table.rows[0].more[0].caption


def test_every_text_is_escaped(broken):
    def poisoned(finding):
        fix = Fix(HOSTILE, paths=(HOSTILE,))
        follows = tuple(map(poisoned, finding.follows))
        texts = {name: getattr(finding, name) + HOSTILE for name in ("message", "place", "cause", "code")}
        evidence = {HOSTILE: HOSTILE}
        return replace(finding, **texts, fix=fix, paths=(HOSTILE,), evidence=evidence, follows=follows)

    texts = ("name", "kind", "law", "design")
    layers = [replace(one, **{name: getattr(one, name) + HOSTILE for name in texts}) for one in broken.layers]
    report = replace(
        broken,
        findings=tuple(map(poisoned, broken.findings)),
        layers=tuple(replace(one, codes=(HOSTILE,)) for one in layers),
        notes=(HOSTILE,),
        model=HOSTILE,
        framework=HOSTILE,
        batch=HOSTILE,
    )
    html = to_html(page(report))
    read = Reader(html)
    assert not read.open
    assert not {"img", "iframe"} & set(read.tags)
    assert read.tags.count("script") == 1
    assert "{{ 7 * 7 }}" in unescape(html)


def test_the_same_report_gives_the_same_page(broken, tmp_path):
    path = broken.html(tmp_path / "out.html")
    assert path == tmp_path / "out.html"
    assert path.read_text(encoding="utf-8") == to_html(page(broken))


@pytest.fixture
def opened(browser, tmp_path):
    """Opens the page of a report; at the end, nothing else was asked for, and nothing complained of."""
    contexts, requests, complaints, addresses = [], [], [], set()

    def open_page(report, *, width=1200, **options):
        address = report.html(tmp_path / "report.html").as_uri()
        context = browser.new_context(viewport={"width": width, "height": 900}, **options)
        contexts.append(context)
        view = context.new_page()
        view.on("request", lambda request: requests.append(request.url))
        view.on("console", lambda message: complaints.append(message.text))
        view.on("pageerror", lambda error: complaints.append(str(error)))
        addresses.add(address)
        view.goto(address)
        return view

    yield open_page
    for context in contexts:
        context.close()
    assert complaints == []
    assert set(requests) == addresses


def column(view, number):
    """Texts of a column of the layer table, the rows that are hidden left out."""
    rows = view.locator(".interactive tbody:visible > tr:first-child")
    return rows.evaluate_all("(rows, number) => rows.map((row) => row.cells[number].textContent.trim())", number)


VERDICT, DEPTH, LAYER, FOUND, RMS = range(5)


@pytest.mark.browser
def test_a_click_on_a_heading_sorts_by_number(opened, broken):
    view = opened(broken)
    button = view.locator("thead").get_by_role("button", name="output size")
    heading = view.locator("thead th").nth(RMS)
    assert heading.get_attribute("aria-sort") is None
    button.click()
    assert heading.get_attribute("aria-sort") == "ascending"
    values = [float(text) for text in column(view, RMS)]
    assert values == sorted(values)
    assert len(values) == 26
    button.click()
    assert heading.get_attribute("aria-sort") == "descending"
    assert [float(text) for text in column(view, RMS)] == sorted(values, reverse=True)


@pytest.mark.browser
def test_sorting_works_by_keyboard_and_one_heading_at_a_time(opened, broken):
    view = opened(broken)
    view.locator("thead").get_by_role("button", name="layer").focus()
    view.keyboard.press("Enter")
    names = column(view, LAYER)
    assert names.index("body.2.conv1") < names.index("body.10.conv1")
    view.keyboard.press("Shift+Tab")
    view.keyboard.press("Space")
    assert column(view, DEPTH) == [str(number) for number in range(1, 27)]
    assert view.locator("[aria-sort]").count() == 1


@pytest.mark.browser
def test_the_verdicts_can_be_sorted_gravest_first(opened, broken):
    view = opened(broken)
    view.locator("thead").get_by_role("button", name="verdict").click()
    assert column(view, FOUND)[:3] == ["FWD001", "LOS001", "DED001"]


@pytest.mark.browser
@pytest.mark.parametrize("order", ["ascending", "descending"])
def test_what_was_not_measured_comes_last(opened, broken, order):
    view = opened(broken)
    button = view.locator("thead").get_by_role("button", name="change")
    button.click(click_count=1 if order == "ascending" else 2)
    assert view.locator("[aria-sort]").get_attribute("aria-sort") == order
    assert column(view, LAYER)[-1] == "body.3.conv2"


@pytest.mark.browser
def test_the_filter_finds_names_and_codes_and_says_how_many(opened, broken):
    view = opened(broken)
    search = view.get_by_role("searchbox")
    search.fill("conv1 BODY.1")
    assert column(view, LAYER) == ["body.1.conv1", "body.10.conv1", "body.11.conv1"]
    assert view.locator(".find output").inner_text() == "3 of 26"
    search.fill("ded001")
    assert column(view, LAYER) == ["body.7.conv1"]
    search.fill("")
    assert len(column(view, LAYER)) == 26
    view.get_by_role("checkbox").check()
    assert column(view, FOUND) == ["FWD001", "DED001", "LOS001"]


@pytest.mark.browser
def test_a_filtered_table_can_be_sorted(opened, broken):
    view = opened(broken)
    view.get_by_role("searchbox").fill("conv2")
    view.locator("thead").get_by_role("button", name="depth").click(click_count=2)
    assert column(view, DEPTH) == [str(number) for number in range(25, 1, -2)]


@pytest.mark.browser
def test_weights_open_on_demand_and_by_keyboard(opened, broken):
    view = opened(broken)
    picture = view.locator(".bars svg").nth(1)
    assert not picture.is_visible()
    summary = view.locator(".more summary").nth(1)
    summary.focus()
    view.keyboard.press("Enter")
    assert picture.is_visible()
    row = view.locator(".interactive tbody").nth(1)
    assert "std 0.0241" in row.inner_text()
    assert not view.locator(".bars svg").nth(0).is_visible()


@pytest.mark.browser
def test_the_triangle_stands_in_its_row(opened, broken):
    view = opened(broken)
    row = view.locator(".interactive tbody").nth(3)
    line, triangle = row.locator("tr").first.bounding_box(), row.locator("summary").bounding_box()
    assert line["y"] - 1 <= triangle["y"]
    assert triangle["y"] + triangle["height"] <= line["y"] + line["height"] + 1


@pytest.mark.browser
def test_what_follows_from_a_finding_opens(opened, broken):
    view = opened(broken)
    follow = view.get_by_text("outputs for different inputs are alike")
    assert not follow.is_visible()
    view.get_by_text("3 more follow from this").click()
    assert follow.is_visible()


@pytest.mark.browser
def test_a_point_of_the_profile_names_its_layer(opened, broken):
    view = opened(broken)
    picture = view.locator(".picture").first
    picture.scroll_into_view_if_needed()
    box = picture.bounding_box()
    y = float(re.match(r"M\S+ (\S+)", picture.locator("path").last.get_attribute("d")).group(1))
    view.mouse.move(box["x"] + 2, box["y"] + y)
    assert "layer 1: stem.conv" in view.locator(".reading").inner_text()


@pytest.mark.browser
@pytest.mark.parametrize("name", ["broken", "healthy", "large"])
@pytest.mark.parametrize("width", [320, 820, 1600])
def test_the_page_never_scrolls_sideways(opened, request, name, width):
    view = opened(request.getfixturevalue(name), width=width)
    assert view.evaluate("document.documentElement.scrollWidth") <= width


@pytest.mark.browser
@pytest.mark.parametrize("name", ["broken", "large"])
@pytest.mark.parametrize("width", [400, 1200])
def test_no_two_labels_of_a_profile_overlap(opened, request, name, width):
    view = opened(request.getfixturevalue(name), width=width)
    overlaps = view.evaluate(
        """() => [...document.querySelectorAll('.picture')].flatMap((picture) => {
            const boxes = [...picture.querySelectorAll('text')].map((t) => [t.textContent, t.getBoundingClientRect()]);
            return boxes.flatMap(([a, p], i) => boxes.slice(0, i).filter(([b, q]) =>
                p.left < q.right - 1 && q.left < p.right - 1 && p.top < q.bottom - 2 && q.top < p.bottom - 2)
                .map(([b]) => [a, b]));
        })"""
    )
    assert overlaps == []


@pytest.mark.browser
@pytest.mark.parametrize(("scheme", "ground"), [("light", "rgb(255, 255, 255)"), ("dark", "rgb(18, 21, 25)")])
def test_headings_that_stay_in_view_cover_what_scrolls_below_them(opened, large, scheme, ground):
    view = opened(large, color_scheme=scheme)
    sheet, heading = view.locator(".interactive"), view.locator(".interactive thead th").nth(LAYER)
    sheet.evaluate("sheet => { sheet.scrollTop = 2000 }")
    offset = heading.bounding_box()["y"] - sheet.bounding_box()["y"]
    assert abs(offset) < 2
    assert heading.evaluate("cell => getComputedStyle(cell).backgroundColor") == ground


@pytest.mark.browser
def test_without_scripts_all_is_there_but_sorting_and_searching(opened, broken):
    view = opened(broken, java_script_enabled=False)
    assert not view.locator(".find").is_visible()
    assert view.locator("thead button").count() == 0
    assert len(view.locator(".interactive tbody").all()) == 26
    view.locator(".more summary").first.click()
    assert view.locator(".bars svg").first.is_visible()


@pytest.mark.browser
def test_in_print_no_row_is_cut_off(opened, large):
    view = opened(large)
    view.emulate_media(media="print")
    assert view.locator(".interactive tbody").last.is_visible()
    heights = view.locator(".interactive").evaluate("sheet => [sheet.scrollHeight, sheet.clientHeight]")
    assert heights[0] <= heights[1] + 1
    assert not view.locator(".find").is_visible()
