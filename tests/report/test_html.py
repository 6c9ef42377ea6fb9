import base64
import hashlib
import re
from dataclasses import fields, is_dataclass, replace
from html import unescape
from html.parser import HTMLParser

import pytest

from fanwise.report.document import Bars, Document, Section, Text
from fanwise.report.html import skyline, to_html, write_html

HOSTILE = """</script></style><script>alert("1")</script><img src=x onerror='alert(1)'>&amp;{{ 7 * 7 }}"""
CHOICES = {"kind", "tone", "align", "scale", "axis"}
VOID = {"meta", "link", "input", "br", "img"}
LOADS = re.compile(
    r"https?:|//[a-z]|@import|url\(|\bsrc=|srcset=|<iframe|<object|<embed|<base|fetch\(|XMLHttp|import\("
)


def poisoned(value):
    """The same document with a hostile end to every text that a caller may choose."""
    if is_dataclass(value):
        free = [field.name for field in fields(value) if field.init and field.name not in CHOICES]
        return replace(value, **{name: poisoned(getattr(value, name)) for name in free})
    if isinstance(value, tuple):
        return tuple(poisoned(item) for item in value)
    return value + HOSTILE if isinstance(value, str) and value else value


class Reader(HTMLParser):
    def __init__(self, page):
        super().__init__()
        self.open, self.starts = [], []
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.starts.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.starts.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


@pytest.fixture(params=["sample", "inspection"])
def either(request):
    return request.getfixturevalue(request.param)


def test_every_text_is_escaped(either):
    clean, page = Reader(to_html(either)), to_html(poisoned(either))
    read = Reader(page)
    assert [tag for tag, _ in read.starts] == [tag for tag, _ in clean.starts]
    assert [set(attrs) for _, attrs in read.starts] == [set(attrs) for _, attrs in clean.starts]
    assert "alert(" in unescape(page)
    assert "{{ 7 * 7 }}" in unescape(page)


def test_tags_are_balanced_and_ids_unique(either):
    reader = Reader(to_html(either))
    ids = [attrs["id"] for _, attrs in reader.starts if "id" in attrs]
    assert not reader.open
    assert len(ids) == len(set(ids))


def test_ids_of_sections_never_meet_our_own():
    reader = Reader(to_html(Document("d", "", (Section("Good", ()), Section("main", ()), Section("Slider 1 1", ())))))
    ids = [attrs["id"] for _, attrs in reader.starts if "id" in attrs]
    assert len(ids) == len(set(ids))


def test_nothing_is_loaded(either):
    page = to_html(either)
    assert not LOADS.findall(page)
    targets = [attrs["href"] for _, attrs in Reader(page).starts if "href" in attrs]
    assert all(target.startswith("#") or target == "data:," for target in targets)


def test_the_policy_allows_our_script_and_no_other(sample):
    page = to_html(sample)
    (script,) = re.findall(r"<script>(.*?)</script>", page, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    (policy,) = [attrs["content"] for _, attrs in Reader(page).starts if attrs.get("http-equiv")]
    assert policy.startswith("default-src 'none'; ")
    assert f"script-src 'sha256-{digest}';" in policy


def test_the_demo_fits_in_300_kilobytes(demo_sized):
    assert len(to_html(demo_sized).encode()) < 300_000


def test_charts_are_described_in_words(sample):
    pictures = [attrs for _, attrs in Reader(to_html(sample)).starts if attrs.get("role") == "img"]
    assert all(attrs["aria-label"] for attrs in pictures)
    assert any("huge from 2480 to diverged" in attrs["aria-label"] for attrs in pictures)


def test_tables_are_marked_up_for_readers(sample):
    page = to_html(sample)
    assert "<caption>Each start, before and after 300 steps.</caption>" in page
    assert page.count('scope="col"') == 4
    assert page.count('scope="row"') == 4


def test_one_frame_of_a_slider_is_shown(sample):
    frames = [attrs for _, attrs in Reader(to_html(sample)).starts if attrs.get("class") == "frame"]
    assert [attrs["data-label"] for attrs in frames if "hidden" not in attrs] == ["x 1"]
    assert len(frames) == 3


def test_frames_share_axes_that_show_all_of_them(sample):
    page = to_html(sample)
    frames = page.split('class="frame"')[1:]
    heights = [float(y) for d in re.findall(r'<path d="M([^"]*)" data-y', page) for y in d.split()[1::2]]
    assert 0 <= min(heights) <= max(heights) <= 320
    ticks = [re.findall(r'class="up"[^>]*>([^<]*)<', frame.split('class="chart single"')[0]) for frame in frames]
    assert ticks[0] == ticks[1] == ticks[2] != []


def test_charts_of_a_grid_share_one_legend(demo_sized):
    legends = re.findall(r'<ul class="legend".*?</ul>', to_html(demo_sized), re.DOTALL)
    assert [legend.count("<li>") for legend in legends[:2]] == [14, 14]
    assert len(legends) == 2 + 13


def test_the_legend_of_a_single_chart_follows_its_curves_from_the_top(sample):
    (legend,) = re.findall(r'<ul class="legend".*?</ul>', to_html(sample), re.DOTALL)[1:2]
    names = re.findall(r'data-name="([^"]*)"', legend)
    assert names == [*(f"start {i}" for i in range(12)), "zeros", "huge"]


def test_the_same_document_gives_the_same_bytes(sample, tmp_path):
    first, second = (write_html(sample, tmp_path / name) for name in ("a.html", "b.html"))
    assert first == tmp_path / "a.html"
    assert first.read_bytes() == second.read_bytes() == to_html(sample).encode()


def test_a_name_that_is_no_unicode_can_be_written(tmp_path):
    path = write_html(Document("d", "", (Section("s", (Text("weights-\udcff.npz"),)),)), tmp_path / "a.html")
    assert "weights-&#56575;.npz" in path.read_text(encoding="utf-8")


def walls(path):
    """Height of the outline over the middle of each bin, read from relative SVG path data."""
    height, tops = 0, []
    for letter, value in re.findall(r"([hv])(-?\d+)", path):
        if letter == "v":
            height -= int(value)
        else:
            tops += [height] * int(value)
    assert height == 0
    return tops


@pytest.mark.parametrize(
    ("counts", "heights"),
    [
        ((0, 12, 24, 24, 6), [0, 12, 24, 24, 6]),
        ((1000, 1, 0), [24, 1, 0]),
        ((0, 0), [0, 0]),
        ((7,), [24]),
    ],
)
def test_bars_are_as_high_as_their_bins_are_full(counts, heights):
    assert walls(skyline(Bars("b", counts))) == heights


def test_a_section_without_a_title_has_no_heading_and_no_link(inspection):
    page = to_html(inspection)
    assert page.count("<h2") == 2
    assert page.count("<a href") == 2


def test_only_tables_that_ask_for_it_can_be_sorted(sample, inspection):
    assert 'class="find"' not in to_html(sample)
    assert to_html(inspection).count('class="find"') == 1


def test_the_cell_that_names_a_row_is_its_heading(inspection):
    page = to_html(inspection)
    assert '<th scope="row">body.0</th>' in page
    assert '<td class="right">2</td>' in page


@pytest.mark.parametrize("sections", [(), (Section("Empty", ()),)])
def test_an_empty_document_is_a_page(sections):
    assert "<h1>d</h1>" in to_html(Document("d", "", sections))
