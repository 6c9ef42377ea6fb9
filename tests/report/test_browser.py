"""The page in a real browser: it loads nothing, complains of nothing, and its controls work by keyboard."""

import pytest

from fanwise.report.html import write_html

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def address(sample, tmp_path_factory):
    return write_html(sample, tmp_path_factory.mktemp("page") / "report.html").as_uri()


@pytest.fixture
def opened(browser, address):
    """Opens the page; at the end, nothing but the page must have been asked for, and nothing complained of."""
    seen = {"requests": [], "complaints": []}
    contexts = []

    def open_page(*, width=1200, **options):
        context = browser.new_context(viewport={"width": width, "height": 900}, **options)
        contexts.append(context)
        page = context.new_page()
        page.on("request", lambda request: seen["requests"].append(request.url))
        page.on("console", lambda message: seen["complaints"].append(message.text))
        page.on("pageerror", lambda error: seen["complaints"].append(str(error)))
        page.goto(address)
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert set(seen["requests"]) == {address}
    assert seen["complaints"] == []


def shown(page):
    return [frame.get_attribute("data-label") for frame in page.locator(".frame").all() if frame.is_visible()]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_slider_moves_by_keyboard(opened, scheme):
    page = opened(color_scheme=scheme)
    slider = page.get_by_role("slider", name="scale of the weights")
    assert shown(page) == ["x 1"]
    slider.focus()
    for key, label, spoken in (("ArrowRight", "x 4", "x 4, bad"), ("Home", "x 0.25", "x 0.25, good")):
        page.keyboard.press(key)
        assert shown(page) == [label]
        assert page.locator("output").inner_text() == label
        assert slider.get_attribute("aria-valuetext") == spoken


@pytest.mark.parametrize(("scheme", "ground"), [("light", "rgb(255, 255, 255)"), ("dark", "rgb(18, 21, 25)")])
def test_the_page_follows_the_colour_scheme(opened, scheme, ground):
    page = opened(color_scheme=scheme)
    assert page.evaluate("getComputedStyle(document.documentElement).backgroundColor") == ground


@pytest.mark.parametrize("width", [320, 400, 820, 1600])
def test_the_page_never_scrolls_sideways(opened, width):
    page = opened(width=width)
    assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_the_page_does_not_jump_when_the_slider_moves(opened):
    page = opened()
    height = page.evaluate("document.body.scrollHeight")
    page.get_by_role("slider").press("End")
    assert page.evaluate("document.body.scrollHeight") == height


def test_play_runs_to_the_end_and_stops(opened):
    page = opened()
    page.get_by_role("button", name="Play").click()
    page.get_by_role("button", name="Play").wait_for(timeout=5000)
    assert shown(page) == ["x 4"]


def test_a_legend_hides_and_singles_out_curves_by_keyboard(opened):
    page = opened()
    chart = page.locator(".chart.single").first
    key, curve, other = (
        chart.get_by_role("button", name="He"),
        chart.locator(".curve").nth(0),
        chart.locator(".curve").nth(1),
    )
    key.focus()
    assert "dim" in other.get_attribute("class")
    assert "dim" not in curve.get_attribute("class")
    key.press("Enter")
    assert key.get_attribute("aria-pressed") == "false"
    assert not curve.is_visible()
    key.press("Enter")
    assert curve.is_visible()


def test_a_legend_of_a_slider_works_on_all_its_frames(opened):
    page = opened()
    page.locator(".frame").nth(1).get_by_role("button", name="layer 2").click()
    page.get_by_role("slider").press("End")
    frame = page.locator(".frame").nth(2)
    assert frame.get_by_role("button", name="layer 2").get_attribute("aria-pressed") == "false"
    assert not frame.locator('.curve[data-name="layer 2"]').first.is_visible()


def test_the_point_nearest_to_the_pointer_is_read_out(opened):
    page = opened()
    picture = page.locator(".chart.single .picture").last
    picture.scroll_into_view_if_needed()
    box = picture.bounding_box()
    page.mouse.move(box["x"] + box["width"] / 2 + 4, box["y"] + 0.03 * box["height"] + 4)
    assert page.locator(".reading").inner_text().splitlines() == ["He x scale", "scale 1, accuracy 97 %"]
    page.mouse.move(0, 0)
    assert page.locator(".reading").count() == 0


@pytest.mark.parametrize("width", [320, 400, 820, 1200])
def test_no_two_labels_of_a_chart_overlap(opened, width):
    page = opened(width=width)
    overlaps = page.evaluate(
        """() => [...document.querySelectorAll('.picture')].flatMap((picture) => {
            const boxes = [...picture.querySelectorAll('text')].map((t) => [t.textContent, t.getBoundingClientRect()]);
            return boxes.flatMap(([a, p], i) => boxes.slice(0, i).filter(([b, q]) =>
                p.left < q.right - 1 && q.left < p.right - 1 && p.top < q.bottom - 2 && q.top < p.bottom - 2)
                .map(([b]) => [a, b]));
        })"""
    )
    assert overlaps == []


def test_without_scripts_every_frame_can_be_read_in_order(opened):
    page = opened(java_script_enabled=False)
    assert shown(page) == ["x 0.25", "x 1", "x 4"]
    tops = [frame.bounding_box()["y"] for frame in page.locator(".frame").all()]
    assert tops == sorted(tops)
    assert not page.locator(".control").is_visible()
