"""The lab as people use it, in JupyterLab and in Jupyter Notebook: type, choose, click, and read numbers back."""

import pytest
from jaxtyping import Float
from selenium import webdriver
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.ui import Select
from torch import Tensor
from transformer_lens.model_bridge import TransformerBridge

from selftests.browsing import HEAT_MAP, keep_picture, severe_messages, wait
from selftests.claim_maps import ioi_mini
from selftests.test_browser import (
    assert_nothing_failed,
    click,
    course,
    errors,
    find,
    kernel_is_idle,
    lab_url,
    open_in_jupyter_notebook,
    open_in_lab,
    run_all_cells,
)
from utils.lab_widgets.maps import Choice, compute_map, run_pairs
from utils.lab_widgets.prompts import first_fields, read_pairs

__all__ = ["course", "lab_url"]
pytestmark = pytest.mark.usefixtures("needed_programs")

BY_POSITION = ".widget-checkbox input:enabled"

# Where a cell of the map is, from its row and column, beside the middle of the plot.
PLACE_OF_CELL = """
const [plot, row, column] = arguments;
const {xaxis, yaxis} = plot._fullLayout;
const box = plot.getBoundingClientRect();
return [xaxis._offset + xaxis.d2p(column) - box.width / 2, yaxis._offset + yaxis.d2p(row) - box.height / 2];
"""


def field(browser: webdriver.Chrome, label: str) -> WebElement:
    """The field, the choice or the checkbox with this label."""
    here = f"//*[contains(@class, 'widget-label')][normalize-space()='{label}']/following-sibling::*"
    return browser.find_element(By.XPATH, here)


def write(browser: webdriver.Chrome, label: str, text: str) -> None:
    field(browser, label).send_keys(Keys.CONTROL, "a")
    field(browser, label).send_keys(text, Keys.TAB)


def says(browser: webdriver.Chrome, text: str) -> None:
    """Wait until the lab says this somewhere."""
    wait(browser, lambda _: text in find(browser, ".jp-OutputArea .widget-vbox")[0].text, f"no {text!r}", 30)


def click_cell(browser: webdriver.Chrome, row: int, column: int) -> None:
    plot = find(browser, ".js-plotly-plot")[0]
    browser.execute_script("arguments[0].scrollIntoView({block: 'center'})", plot)
    x, y = browser.execute_script(PLACE_OF_CELL, plot, row, column)
    ActionChains(browser).move_to_element_with_offset(plot, x, y).pause(0.2).click().perform()


@pytest.mark.parametrize("open_page", [open_in_lab, open_in_jupyter_notebook])
def test_the_lab_shows_the_numbers_that_are_computed_without_it(browser, lab_url, open_page) -> None:
    name, (model, _) = open_page.__name__, ioi_mini()
    open_page(browser, lab_url, "solved/10_lab.ipynb")
    wait(browser, kernel_is_idle, "no kernel")
    severe_messages(browser)  # leave out what is written while the page opens, before any cell runs
    run_all_cells(browser)
    assert errors(browser) == []
    wait(browser, lambda _: find(browser, HEAT_MAP), "no map")

    Select(field(browser, "Patch")).select_by_visible_text("z")
    wait(browser, lambda _: find(browser, BY_POSITION), "no choice by position")[0].click()
    write(browser, "Cell", "9.9")
    fields = first_fields(model)
    effects = heads(model, fields)
    says(browser, f"z 9.9: {effects[9, 9]:.3f}")
    assert find(browser, ".js-plotly-plot .annotation") == []  # of the facets of the map by position
    keep_picture(browser, f"{name}_cell")
    click(browser, "jupyter-button", "Pin")
    click_cell(browser, 10, 7)
    says(browser, f"Pinned: z 9.9: {effects[9, 9]:.3f}")
    says(browser, f"z 10.7: {effects[10, 7]:.3f}")
    keep_picture(browser, f"{name}_pinned")

    write(browser, "Corrupted prompt", "When John met Mary")
    says(browser, "Every prompt must have as many tokens as the first")
    third_name = fields["corrupted"].replace("Mary gave", "Tom gave")
    write(browser, "Corrupted prompt", third_name)
    write(browser, "Cell", "9.9")
    says(browser, f"z 9.9: {heads(model, fields | {'corrupted': third_name})[9, 9]:.3f}")
    browser.execute_script("arguments[0].scrollIntoView()", field(browser, "Clean prompt"))
    keep_picture(browser, f"{name}_third_name")
    assert_nothing_failed(browser, lab_url)


def heads(model: TransformerBridge, fields: dict[str, str]) -> Float[Tensor, "layer head"]:
    return compute_map(model, run_pairs(model, read_pairs(model, fields)), Choice("z", by_position=False))
