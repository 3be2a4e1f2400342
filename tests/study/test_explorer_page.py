"""Where the interactive page is shown: windows, browsers without scripts, notebooks; and what the report writes."""

import re

import pytest
from explorer_cells import cell, changed

from normbench.words import fixed
from study import by_hand
from study import explorer as explorer_page
from study.numbers import Numbers


@pytest.mark.parametrize("width", (360, 800, 1400))
@pytest.mark.parametrize("scheme", ("light", "dark"))
def test_it_fits_a_window(open_page, address, width, scheme):
    page = open_page(address, width, scheme)
    fits = "document.documentElement.scrollWidth <= innerWidth"
    assert page.evaluate(fits)
    for grid in ("batch", "y-BN", "y-RMS"):
        assert page.evaluate(f"$('{grid}').scrollWidth <= $('{grid}').clientWidth"), (
            "the first batch needs no scrolling"
        )
    page.select_option("#W", "4")
    page.select_option("#C", "6")
    assert page.evaluate(fits), "a wide one is scrolled by itself"
    red, green, blue = map(int, re.findall(r"\d+", page.evaluate("getComputedStyle(document.body).backgroundColor")))
    assert (red + green + blue < 200) == (scheme == "dark")


def test_without_scripts_it_can_be_read(browser, address):
    page = browser.new_context(java_script_enabled=False).new_page()
    page.goto(address)
    said = page.inner_text("body")
    worked = by_hand.work_all(by_hand.EXAMPLE, "IN")[-1]
    assert f"{fixed(worked.mean, 3)}, {fixed(worked.deviation, 3)}" in said and "8 numbers" in said
    assert page.locator("#still table").count() == 6 and page.is_hidden("#app"), "no dead controls"
    page.close()


def test_only_the_data_is_written_by_the_report(text):
    before = explorer_page.PAGE.read_text(encoding="utf-8")
    assert emptied(before) == emptied(text)
    for place in (explorer_page.DATA, explorer_page.STILL):
        assert place.search(before).group() != place.search(text).group()


def emptied(page):
    return explorer_page.DATA.sub("", explorer_page.STILL.sub("", page))


def test_a_page_without_a_place_for_the_data_is_not_written(tmp_path, monkeypatch):
    monkeypatch.setattr(explorer_page, "PAGE", tmp_path / "explorer.html")
    explorer_page.PAGE.write_text("<html></html>")
    with pytest.raises(ValueError, match="needs one"):
        explorer_page.page(Numbers())


@pytest.mark.parametrize("width", (400, 800, 1200))
@pytest.mark.parametrize("colour, dark", (("white", False), ("#111", True)))
def test_in_a_notebook_it_is_a_frame_that_fits_and_looks_like_it(
    open_page, text, tmp_path, monkeypatch, width, colour, dark
):
    monkeypatch.setattr(explorer_page, "PAGE", tmp_path / "explorer.html")
    explorer_page.PAGE.write_text(text, encoding="utf-8")
    notebook = tmp_path / "notebook.html"
    style = f"background: {colour}; margin: 0 1rem"
    notebook.write_text(
        f"<!DOCTYPE html><meta charset=utf-8><body style='{style}'>{explorer_page.frame()}", encoding="utf-8"
    )
    page = open_page(notebook.as_uri(), width, scheme="light" if dark else "dark")
    frame = page.frames[1]
    frame.fill(cell(0), "9")
    assert changed(frame)[3] > 0, "it works"
    assert frame.is_hidden("h1") and frame.is_hidden("#questions") and frame.is_visible("#steps")
    page.wait_for_function("document.querySelector('iframe').offsetHeight != 640")
    assert frame.evaluate("document.documentElement.scrollHeight <= innerHeight"), "nothing is cut off below"
    assert frame.evaluate("document.documentElement.scrollWidth <= innerWidth"), "nor at the right"
    assert page.evaluate("document.querySelector('iframe').offsetHeight") < (1500 if width < 800 else 850)
    red, green, blue = map(int, re.findall(r"\d+", frame.evaluate("getComputedStyle(document.body).backgroundColor")))
    assert (red + green + blue < 384) == dark, "as what is around it, whatever the system prefers"
    assert page.complaints == []
