"""The pages on results: their numbers are those of the report, letter by letter."""

from __future__ import annotations

import base64
import csv
import io
import re
import threading
import urllib.error
import urllib.request
from urllib.parse import quote

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import expect

from ccar.cli.why import why_text
from ccar.data import digits
from ccar.evidence.benchmarks import benchmark_class_counts
from ccar.evidence.importance import importance
from ccar.evidence.selection import CRITERION
from ccar.reports import finding
from ccar.reports.formats.csv_files import render_csv
from ccar.reports.omega_formula import class_frequencies, gradient_factor
from ccar.reports.published_table import published_table
from ccar.reports.results import summarise
from ccar.reports.tables.best_omega import best_omega_table
from ccar.reports.wording import MISSING, points
from ccar.store.records import StudyRecord
from ccar.store.trial_store import TrialStore
from ccar.study.plan import why
from dashboards.pages.compare import _MEASURES
from dashboards.pages.losses import _P
from dashboards.stored_study import StoredStudy
from tests.dashboards import made_up_store
from tests.dashboards.conftest import expect_rows, served, traces
from tests.dashboards.made_up_store import CLASS_COUNTS, finish, put_study
from tests.waiting import SECONDS, wait_until

CELL = "if15/ldam+ccar(omega=0.75)"


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """A finished study of two base losses, three omegas and two class frequencies."""
    store = TrialStore(tmp_path_factory.mktemp("store"))
    for trial in put_study(store, frequencies=["fraction", "none"], omegas=[0.5, 0.75]):
        finish(store, trial)
    return store


def results_of(store, name):
    """The numbers of a study's report."""
    record = store.study(name)
    assert isinstance(record, StudyRecord)
    study = StoredStudy(store, record)
    study.refresh(frozenset(store.keys()), 60)
    assert study.state.is_whole
    return summarise(study.report_input(study.state))


@pytest.fixture(scope="module")
def results(store):
    """The numbers of its report."""
    return results_of(store, "made-up")


@pytest.fixture(scope="module")
def site(store):
    with served(store) as address:
        yield address


def texts_of(table):
    return [[entry.text for entry in row.entries] for row in table.rows]


@pytest.mark.parametrize("path", ["/compare?study=made-up", f"/trial?study=made-up&cell={quote(CELL)}&seed=0"])
def test_a_page_with_accuracy_by_class_size_and_calibration_says_what_the_words_mean(site, open_page, path):
    main = open_page(f"{site}{path}").locator("main")
    expect(main).to_contain_text(
        "Many: classes with more than 100 training images; medium: 20 to 100; few: fewer than 20."
    )
    expect(main).to_contain_text("ECE: expected calibration error")


def test_the_table_of_best_omegas_is_that_of_the_report(site, results, open_page):
    page = open_page(f"{site}/omega?study=made-up")
    expect_rows(page.locator("#best_omega tbody tr"), texts_of(best_omega_table(results)))


def test_the_verdicts_are_said_in_the_words_of_the_report(site, results, open_page):
    page = open_page(f"{site}/omega?study=made-up")
    (setting,) = results.settings
    expect(page.locator("main")).to_contain_text(finding.headline(results, setting))
    for detail in finding.details(results, setting):
        expect(page.locator("main")).to_contain_text(detail)


def test_the_drawn_gains_are_those_of_the_report(site, results, open_page):
    page = open_page(f"{site}/omega?study=made-up&base=ldam")
    page.wait_for_selector(".js-plotly-plot .scatterlayer .point")
    drawn = traces(
        page.locator(".js-plotly-plot").first,
        "traces.filter(one => !one.showlegend).map(one => [Array.from(one.x), Array.from(one.y)])",
    )
    cells = results.cells[(results.cells["family"] == "ldam") & results.cells["omega"].notna()]
    for line, frequency in zip(drawn, ["fraction", "none"], strict=True):
        own = cells[cells["frequency"] == frequency].sort_values("omega")
        assert line[0] == own["omega"].tolist()
        assert line[1] == pytest.approx(100 * own["test_balanced_accuracy_versus_plain_mean"])


def test_the_differences_to_the_baseline_are_those_of_the_report(site, results, open_page):
    page = open_page(f"{site}/omega?study=made-up&beside=baseline")
    cells = results.cells[results.cells["test_balanced_accuracy_difference_n"] > 0].set_index("cell")
    rows = page.locator("#baseline tbody tr")
    expect(rows.locator("th")).to_have_text(list(cells.index))
    expect(rows.locator("td:nth-of-type(1)")).to_have_text(
        list(map(points, cells["test_balanced_accuracy_difference_mean"]))
    )
    expect(rows.locator("td:nth-of-type(3)")).to_have_text(list(cells["test_balanced_accuracy_difference_verdict"]))


def test_published_rows_stand_beside_the_measured_ones_as_in_the_report(store, site, open_page):
    trials = put_study(
        store, "published", data="cifar100", model="resnet32", factors=[100], bases=["cross_entropy"], omegas=[0.75]
    )
    for trial in trials:
        finish(store, trial)
    made = published_table(results_of(store, "published"))
    assert made is not None
    page = open_page(f"{site}/omega?study=published&beside=published")
    expect_rows(page.locator("#published tbody tr"), texts_of(made))
    page = open_page(f"{site}/omega?study=made-up&beside=published")
    expect(page.locator("main")).to_contain_text("No published row is like a finished cell of this.")


def summed_up(address):
    """What is there once its numbers are summed up; until then the answer is to try again."""
    found = []

    def is_there():
        try:
            with urllib.request.urlopen(address) as answer:
                found.append(answer.read().decode())
        except urllib.error.HTTPError as error:
            if error.code != 503:
                raise
            error.close()
        return found

    wait_until(is_there)
    return found[0]


def test_the_tables_to_take_away_are_those_of_the_report(site, results):
    for kind, frame in (("cells", results.cells), ("trials", results.trials)):
        text = summed_up(f"{site}/csv/{kind}?study=made-up")
        assert text == render_csv(frame)
        assert len(list(csv.DictReader(io.StringIO(text)))) == len(frame)


def click(page, mark, across=0.5, down=0.5):
    """On a place of a mark, whose layer of the plot lies below the one that takes the mouse."""
    # Dash listens to a plot only after it was drawn: whoever clicks before that clicks in vain.
    listens = "mark => mark.closest('.js-plotly-plot')?._ev?.listenerCount('plotly_click')"
    wait_until(lambda: mark.evaluate(listens))
    mark.scroll_into_view_if_needed()  # once it has stopped moving
    box = mark.bounding_box()
    page.mouse.click(box["x"] + across * box["width"], box["y"] + down * box["height"])


def test_a_click_on_a_point_leads_to_the_trials_of_its_cell(site, open_page):
    page = open_page(f"{site}/omega?study=made-up&base=ldam")
    point = page.locator(".scatterlayer .trace").nth(1).locator(".point").nth(0)
    expect(point).to_be_visible()
    click(page, point)
    expect(page.locator("#results .question")).to_have_text("if15/ldam+ccar(omega=0.5, frequency=none)")
    expect(page.locator("#trials tbody tr")).to_have_count(3)
    page.go_back()
    expect(page).to_have_url(f"{site}/omega?study=made-up&base=ldam")
    expect(point).to_be_visible()


def test_a_click_on_a_field_of_the_heat_map_leads_to_its_trials(site, open_page):
    page = open_page(f"{site}/omega?study=made-up&base=ldam")
    click(page, page.locator(".heatmaplayer image").first, 0.75, 0.25)
    expect(page.locator("#results .question")).to_have_text("if15/ldam+ccar(omega=0.75)")


def test_the_trials_of_a_gain_are_reached_by_keyboard(site, open_page):
    page = open_page(f"{site}/omega?study=made-up&base=ldam")
    page.get_by_role("link", name="a table of them").press("Enter")
    page.get_by_role("link", name=CELL, exact=True).press("Enter")
    expect(page.locator("#results .question")).to_have_text(CELL)


def test_every_gain_leads_to_its_trials(site, open_page):
    page = open_page(f"{site}/omega?study=made-up")
    page.get_by_role("link", name="a table of them").click()
    page.get_by_role("link", name="if15/ldam+ccar(omega=0.75, frequency=none)").click()
    expect(page.locator("#trials tbody tr")).to_have_count(3)
    page.get_by_role("link", name="seed 1").click()
    expect(page.locator(".facts").first).to_contain_text("finished")
    expect(page.locator("#evaluations")).to_be_visible()
    expect(page.locator("main")).to_contain_text("would not run again: it has finished")


# While the first answer for a seed is under way the clock ticks, and the frame's answer comes a moment after that.
_CROSSED_ANSWERS = """() => {
  const ask = window.fetch;
  window.fetch = async (...asked) => {
    const answer = ask(...asked), said = String(asked[1] && asked[1].body);
    if (said.includes("seed=1") && said.includes("results.children") && !window.has_ticked) {
      window.has_ticked = true;
      window.dash_clientside.set_props("tick", {n_intervals: 1e9});
    }
    if (said.includes("seed=1") && said.includes("choices.children") && !window.was_late) {
      window.was_late = true;
      await new Promise((resolve) => setTimeout(resolve, 1500));
    }
    return answer;
  };
}"""


def test_a_link_is_followed_though_answers_to_other_questions_come_between(site, open_page):
    page = open_page(f"{site}/trial?study=made-up&cell={quote(CELL)}")
    expect(page.locator("#trials")).to_be_visible()
    page.evaluate(_CROSSED_ANSWERS)
    page.get_by_role("link", name="seed 1", exact=True).click()
    expect(page.locator("#evaluations")).to_be_visible()
    expect(page.locator(".choice a.here")).to_have_text("1")
    assert page.evaluate("[window.has_ticked, window.was_late]") == [True, True]


def test_who_asks_is_told_which_finished_trial_is_most_like_one_that_has_not_run(store, site, open_page):
    first, *_, other = put_study(store, "begun", bases=["focal"], omegas=[0.5], seeds=[5], baseline="focal")
    finish(store, first)
    page = open_page(f"{site}/trial?study=begun&cell={quote(other.cell.id)}&seed=5")
    page.get_by_role("link", name="It has not run. Which finished trial is most like it?").click()
    expect(page).to_have_url(re.compile("why=1"))
    answer = why_text(other, store.read(other.key), why(other, store.all_records()), stopped_is_done=False)
    assert "would run: the nearest finished trial" in answer
    expect(page.locator("pre.log")).to_have_text(answer)


def test_the_best_and_worst_classes_of_a_trial_are_shown_by_images_of_the_data_set(site, open_page):
    page = open_page(f"{site}/trial?study=made-up&cell={quote(CELL)}&seed=1")
    rows = page.locator("#examples tbody tr")
    expect(rows.locator("th")).to_have_text(["0", "1", "2", "7", "8", "9"])  # made up to fall with the label
    expect(rows.locator("td:last-of-type")).to_have_text(["best"] * 3 + ["worst"] * 3)
    train = digits.decode().train
    for label in (0, 9):
        images = page.get_by_alt_text(re.compile(f"of class {label}:"))
        expect(images).to_have_count(4)
        images = images.all()
        for image in images:  # which a browser decodes in its own time
            expect(image).to_have_js_property("naturalWidth", 8)
        shown = [image.get_attribute("src").removeprefix("data:image/png;base64,") for image in images]
        pixels = [np.asarray(Image.open(io.BytesIO(base64.b64decode(one)))) for one in shown]
        assert np.array_equal(pixels, train.pixels[train.labels == label][: len(images), 0])


def test_the_cells_that_are_compared_stand_in_the_address(site, results, open_page):
    cells = ["if15/cross_entropy", "if15/ldam"]
    page = open_page(f"{site}/compare?study=made-up&cells=" + "%0A".join(cells))
    rows = page.locator("#measures tbody th")
    expect(rows).to_have_text(cells)
    differences = results.cells.set_index("cell").loc["if15/ldam"]
    said = f"{100 * differences['test_balanced_accuracy_difference_mean']:+.2f}"
    expect(page.locator("#paired")).to_contain_text(said)


def test_the_verdicts_on_the_cells_that_are_shown_unasked_are_those_of_the_report(site, results, open_page):
    best = results.choices.sort_values(f"{CRITERION}_mean").iloc[-1]
    page = open_page(f"{site}/compare?study=made-up")
    expect(page.locator("#paired caption")).to_contain_text("Difference to if15/cross_entropy, ")
    row = page.locator("#paired").get_by_role("row", name=best["cell"])
    expect(row.locator("td").nth(3)).to_have_text(f"{best['versus_baseline_p_holm']:.2g}")
    expect(row.locator("td").nth(4)).to_have_text(best["versus_baseline_verdict"])


def test_a_pair_of_cells_that_the_report_does_not_compare_has_a_difference_and_no_verdict(site, results, open_page):
    cells = ["if15/ldam", "if15/cross_entropy", CELL]
    page = open_page(f"{site}/compare?study=made-up&cells={quote(chr(10).join(cells))}")
    rows = page.locator("#paired tbody tr")
    own = results.cells.set_index("cell").loc[CELL]
    expect(rows.nth(1).locator("td").nth(4)).to_have_text(own["test_balanced_accuracy_versus_plain_verdict"])
    expect(rows.nth(1).locator("td").nth(3)).to_have_text(f"{own['test_balanced_accuracy_versus_plain_p_holm']:.2g}")
    expect(rows.nth(0).locator("td").nth(0)).not_to_have_text(MISSING)
    expect(rows.nth(0).locator("td").nth(3)).to_have_text(MISSING)
    expect(rows.nth(0).locator("td").nth(4)).to_have_text(MISSING)


def test_a_seed_that_a_study_gets_is_offered_above_its_open_page(tmp_path, open_page):
    store = TrialStore(tmp_path / "store")
    put_study(store, seeds=[0, 1])
    with served(store) as address:
        page = open_page(f"{address}/trial?study=made-up&cell=if15/ldam")
        seeds = page.get_by_role("group", name="Seed").get_by_role("link")
        expect(seeds).to_have_text(["all", "0", "1"])
        put_study(store, seeds=[0, 1, 2])
        expect(seeds).to_have_text(["all", "0", "1", "2"])
        page.close()


def test_the_cells_that_are_shown_unasked_are_marked_and_another_one_is_added_to_them(site, open_page):
    page = open_page(f"{site}/compare?study=made-up")
    rows = page.locator("#measures tbody th")
    expect(rows).not_to_have_count(0)
    usual = rows.all_text_contents()
    page.get_by_text("Choose cells:").click()
    expect(page.locator(".cells a.here")).to_have_count(len(usual))
    page.locator(".cells a:not(.here)").first.click()
    expect(rows).to_have_count(len(usual) + 1)
    assert set(usual) < set(rows.all_text_contents())


def test_no_eighth_cell_is_offered(site, results, open_page):
    cells = list(results.cells["cell"])[:7]
    page = open_page(f"{site}/compare?study=made-up&cells={quote(chr(10).join(cells))}")
    expect(page.locator("#measures tbody th")).to_have_count(7)
    expect(page.locator(".cells li")).to_have_count(len(results.cells))
    expect(page.locator(".cells a")).to_have_count(7)
    expect(page.locator(".cells a:not(.here)")).to_have_count(0)


def test_cells_whose_names_are_cut_alike_have_a_row_each(store, open_page, site):
    alike = "m" * 80
    extra = "  extra:\n" + "".join(
        f"    - {{label: {alike}{end}, base: focal, reweighting: {{omega: 0.{end}}}}}\n" for end in (3, 4)
    )
    for trial in put_study(store, "alike", bases=["focal"], omegas=[0.5], extra=extra, baseline="focal"):
        finish(store, trial)
    cells = ["if15/focal", *(f"if15/{alike}{end}" for end in (3, 4))]
    page = open_page(f"{site}/compare?study=alike&cells={quote(chr(10).join(cells))}")
    name = "Difference in balanced test accuracy of each seed"
    plot = page.get_by_role("group", name=name).locator(".js-plotly-plot")
    expect(plot.locator(".scatterlayer .trace")).to_have_count(4)
    assert traces(plot, "[...new Set(traces.flatMap(one => [...one.y]))]") == cells[1:]


def test_classes_whose_training_images_differ_by_seed_are_not_drawn_over_them(tmp_path, monkeypatch, open_page):
    store = TrialStore(tmp_path / "store")
    for trial in put_study(store, bases=["focal"], omegas=[0.5], baseline="focal"):
        first = trial.seed % len(CLASS_COUNTS)
        monkeypatch.setattr(made_up_store, "CLASS_COUNTS", CLASS_COUNTS[first:] + CLASS_COUNTS[:first])
        finish(store, trial)
    with served(store) as address:
        page = open_page(f"{address}/compare?study=made-up")
        expect(page.locator("#figures")).to_contain_text(
            "Not drawn: a class has not the same number of training images"
        )
        expect(page.get_by_role("group", name="Reliability on the test set")).to_be_visible()
        expect(page.get_by_role("group", name="Test accuracy of each class")).to_have_count(0)
        expect(page.get_by_role("group", name="The pairs of classes")).to_have_count(0)
        page.close()


def test_the_axis_of_training_images_says_twenty_and_not_two(site, open_page):
    page = open_page(f"{site}/trial?study=made-up&cell={quote(CELL)}&seed=1")
    figure = page.get_by_role("group", name="Accuracy of each class")
    expect(figure.locator(".xtick")).to_have_text(["10", "20", "50", "100"])
    expect(page.locator(".facts").first).to_contain_text("Time4 s")


def test_the_most_confused_classes_stand_with_their_training_images(site, open_page):
    page = open_page(f"{site}/compare?study=made-up&cells=if15/cross_entropy%0Aif15/ldam")
    figure = page.get_by_role("group", name="The pairs of classes that are most often confused")
    said = [f"{true} ({CLASS_COUNTS[true]}) → {taken} ({CLASS_COUNTS[taken]})" for true, taken in ((8, 1), (9, 0))]
    expect(figure.locator(".ytick")).to_have_text(said)
    expect(figure.locator(".trace.scatter")).to_have_count(2)


def test_a_line_of_the_parallel_coordinates_goes_through_what_its_cell_is_made_of_and_reaches(site, results, open_page):
    page = open_page(f"{site}/compare?study=made-up&cells={quote(CELL)}")
    figure = page.get_by_role("group", name="What the cells are made of")
    expect(figure.locator(".ytick").last).to_have_text("base loss")
    drawn = traces(figure.locator(".js-plotly-plot"), "traces.map(one => [one.name, one.y, one.text])")
    (own,) = ((axes, texts) for name, axes, texts in drawn if name == "ldam+ccar(omega=0.75)")
    cell = results.cells.set_index("cell").loc[CELL]
    assert dict(zip(*own, strict=True)) == {
        "base loss": "ldam",
        "ω": "0.75",
        "class frequency": "fraction",
        **{
            f"{words} (%)": f"{100 * cell[f'{column}_mean']:.2f}"
            for column, words in _MEASURES.items()
            if results.cells[f"{column}_mean"].nunique() > 1
        },
    }


def test_what_explains_validation_accuracy_is_estimated_for_who_asks(site, results, open_page):
    page = open_page(f"{site}/compare?study=made-up")
    expect(page.locator("#measures")).to_be_visible()
    expect(page.locator("#importance-table")).to_have_count(0)
    page.get_by_role("link", name="Estimate it from all finished trials").click()
    expect(page.locator("#importance-table")).to_be_attached()
    found = importance(results.trials)
    page.get_by_text("As a table").last.click()
    expect(page.locator("#importance-table tbody td")).to_have_text([f"{100 * lost:.1f}" for lost in found.lost])
    assert set(found.lost.index) == {"family", "omega", "frequency", "seed"}
    expect(page.locator("#importance-table tbody th").first).to_have_text("base loss")


@pytest.mark.parametrize(
    ("link", "frequency", "phase"),
    [("max normalised", "max_normalised", "dual"), ("inverted only", "fraction", "inverted_only")],
)
def test_the_switches_of_omega_move_the_curves_and_the_address(site, open_page, link, frequency, phase):
    page = open_page(f"{site}/losses?data=cifar10_lt&imbalance=50")
    page.get_by_role("link", name=link, exact=True).click()
    switch = f"frequency={frequency}" if phase == "dual" else f"phase={phase}"
    expect(page).to_have_url(f"{site}/losses?data=cifar10_lt&imbalance=50&{switch}")
    frequencies = class_frequencies(benchmark_class_counts("cifar10_lt", 50), frequency)
    small, large = (gradient_factor(_P, float(frequencies[label]), 0.5, phase=phase) for label in (-1, 0))
    most = 100 * abs(small / large - 1).max()
    expect(page.locator("#class-effect")).to_contain_text(f"at most {most:.2g} %")


def test_moving_omega_moves_the_curves_and_the_address(site, open_page):
    page = open_page(f"{site}/losses?data=cifar10_lt&imbalance=50")
    page.get_by_role("slider").press("ArrowRight")
    expect(page).to_have_url(f"{site}/losses?data=cifar10_lt&imbalance=50&omega=0.51")
    frequencies = class_frequencies(benchmark_class_counts("cifar10_lt", 50), "fraction")
    small, large = (gradient_factor(_P, float(f), 0.51) for f in (frequencies.min(), frequencies.max()))
    most = 100 * abs(small / large - 1).max()
    expect(page.locator("#class-effect")).to_contain_text("At ω = 0.51, ")
    expect(page.locator("#class-effect")).to_contain_text(f"at most {most:.2g} %")


def test_a_plan_names_the_lines_of_all_mistakes_and_counts_the_trials_once_they_are_mended(site, open_page):
    page = open_page(f"{site}/plan")
    expect(page.locator("#plan")).to_contain_text("18: 3 seeds x 6 cells")
    box = page.get_by_label("Study file")
    text = box.input_value()
    box.fill(text.replace("bases:", "basis:").replace("seeds: [0, 1, 2]", "seeds: []"))
    expect(page.locator("#mistakes > li")).to_have_count(2)
    expect(page.locator("#mistakes")).to_contain_text("line 7")
    box.fill(text.replace("seeds: [0, 1, 2]", "seeds: [0, 1]"))
    expect(page.locator("#plan")).to_contain_text("12: 2 seeds x 6 cells")
    with page.expect_download() as download:
        page.get_by_role("button", name="Download").click()
    assert download.value.suggested_filename == "study.yaml"


def test_what_was_typed_into_a_plan_is_there_again_after_a_look_at_another_page(tmp_path, site, open_page):
    page = open_page(f"{site}/plan?study=made-up")
    box = page.get_by_label("Study file")
    expect(box).to_have_value(re.compile("study: made-up"))
    box.fill("study: typed\n")
    expect(page.locator("#mistakes")).not_to_be_empty()
    page.get_by_role("link", name="Losses", exact=True).click()
    expect(box).to_have_count(0)
    page.go_back()
    expect(box).to_have_value("study: typed\n")
    expect(page.locator("#mistakes")).not_to_be_empty()
    page.get_by_role("link", name="Plan", exact=True).click()
    expect(box).to_have_value(re.compile("my-study"))
    file = tmp_path / "opened.yaml"
    file.write_text("study: opened\n")
    with page.expect_file_chooser() as chooser:
        page.get_by_role("button", name="Open a file").click()
    chooser.value.set_files(file)
    expect(box).to_have_value("study: opened\n")
    page.get_by_role("link", name="Losses", exact=True).click()
    expect(box).to_have_count(0)
    page.go_back()
    expect(box).to_have_value("study: opened\n")


def test_what_is_to_be_typed_stands_without_backticks(site, open_page):
    page = open_page(f"{site}/plan")
    expect(page.locator("#plan .note code")).to_have_text("ccar plan")
    expect(page.locator("#plan")).not_to_contain_text("`")


def test_the_file_of_a_study_is_opened_from_its_page_and_follows_the_address(site, store, open_page):
    put_study(store, "another", omegas=[0.25], seeds=[0], bases=["focal"], baseline="focal")
    page = open_page(f"{site}/study?study=made-up")
    page.get_by_role("link", name="Open its file in Plan").click()
    box = page.get_by_label("Study file")
    expect(box).to_have_value(store.study("made-up").definition)
    expect(page.locator("#plan")).to_contain_text("30: 3 seeds x 10 cells")
    page.evaluate("history.pushState({}, '', '/plan?study=another'); dispatchEvent(new PopStateEvent('popstate'))")
    expect(box).to_have_value(store.study("another").definition)
    page.go_back()
    expect(box).to_have_value(store.study("made-up").definition)


def test_a_plan_of_a_study_waits_until_the_store_is_read_and_then_keeps_what_is_typed(store, open_page, monkeypatch):
    may_read = threading.Event()
    versions = store.study_versions
    monkeypatch.setattr(TrialStore, "study_versions", lambda _: may_read.wait(SECONDS) and versions())
    with served(TrialStore(store.root)) as address:
        page = open_page(f"{address}/plan?study=made-up")
        box = page.get_by_label("Study file")
        expect(box).to_have_value(re.compile("my-study"))
        may_read.set()
        expect(box).to_have_value(store.study("made-up").definition)
        box.fill("study: typed\n")
        finish(store, put_study(store, "meanwhile", omegas=[0.9], seeds=[7], bases=["focal"], baseline="focal")[0])
        page.wait_for_timeout(1_500)
        expect(box).to_have_value("study: typed\n")
        page.close()


def test_a_file_of_this_machine_is_opened_and_can_be_opened_again(tmp_path, site, open_page):
    file = tmp_path / "mine.yaml"
    page = open_page(f"{site}/plan")
    box = page.get_by_label("Study file")
    file.write_text(box.input_value().replace("my-study", "größer").replace("seeds: [0, 1, 2]", "seeds: [0, 1]"))
    for _ in range(2):
        with page.expect_file_chooser() as chooser:
            page.get_by_role("button", name="Open a file").click()
        chooser.value.set_files(file)
        expect(box).to_have_value(file.read_text())
        expect(page.locator("#mistakes")).to_contain_text("größer")
        box.fill("")
        expect(page.locator("#mistakes")).not_to_contain_text("größer")


@pytest.mark.parametrize(
    ("seeds", "said"),
    [
        (f"{list(range(4000))}", "It may ask for 24,000 trials; here for 20,000."),
        (f"[0]  # {'x' * 100_000}", "The file has more than 100,000 characters."),
    ],
)
def test_what_would_take_the_server_too_long_is_refused_in_words(site, open_page, seeds, said):
    page = open_page(f"{site}/plan")
    box = page.get_by_label("Study file")
    box.fill(box.input_value().replace("seeds: [0, 1, 2]", f"seeds: {seeds}"))
    expect(page.locator("#plan")).to_contain_text(said)


def test_a_plan_costs_what_trials_of_its_own_recipe_took(store, site, open_page):
    page = open_page(f"{site}/plan?study=made-up")
    expect(page.locator("#plan .facts")).to_contain_text("CPU time")
    box = page.get_by_label("Study file")
    box.fill(store.study("made-up").definition)
    expect(page.locator("#plan .facts")).not_to_contain_text("unknown")
    box.fill(store.study("made-up").definition.replace("epochs: 3", "epochs: 4"))
    expect(page.locator("#plan .facts")).to_contain_text("unknown")
    slower = put_study(store, "slower", epochs=4, omegas=[0.5], seeds=[0], bases=["ldam"], baseline="ldam")
    for trial in slower:
        finish(store, trial, epochs=4)
    expect(open_page(site).get_by_role("row", name="slower")).to_contain_text("2 of 2")
    box.fill(store.study("made-up").definition.replace("epochs: 3", "epochs: 4") + "\n")
    expect(page.locator("#plan .facts")).not_to_contain_text("unknown")
