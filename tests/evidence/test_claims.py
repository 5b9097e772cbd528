"""What the checks find: in the CCAR paper's own tables, and in tables made up to have one flaw each."""

from __future__ import annotations

import math
from collections import Counter

import pytest

from ccar.evidence.claims import check_claims, described, not_checked, standard_error
from ccar.evidence.published import ccar_paper_rows, published_rows
from ccar.evidence.result_rows import read_rows


@pytest.fixture(scope="module")
def of_the_paper():
    """All findings in Tables II to V."""
    return check_claims(ccar_paper_rows(), published_rows())


def about(findings, check):
    """(table, method, omega, imbalance factor) of the first row of each finding of a check, with the finding."""
    return {
        (each.rows[0].table, each.rows[0].method, each.rows[0].omega, each.rows[0].imbalance_factor): each
        for each in findings
        if each.check == check
    }


def found(text, *published):
    return check_claims(read_rows(text, "table.csv"), published)


def test_contradiction_1_two_tables_give_one_cell_two_accuracies(of_the_paper):
    findings = about(of_the_paper, "two tables")
    assert {key[0] for key in findings} == {"Table III", "Table IV"}
    messages = [each.message for each in findings.values()]
    assert messages == [
        "45.62 in Table III, 44.12 in Table V: 1.50 apart",
        "64.90 in Table IV, 62.90 in Table V: 2.00 apart",
    ]
    assert all(each.severity == "contradiction" for each in findings.values())


def test_contradiction_2_the_group_means_of_the_ours_rows_make_another_overall(of_the_paper):
    severe = {
        key[1]: each for key, each in about(of_the_paper, "group means").items() if each.severity == "contradiction"
    }
    assert set(severe) == {"Ours + CE", "Ours + LA", "Ours + BS"}
    # The weights are 842, 4076 and 3224 of 8142 classes; the differences are those that a pocket calculator gives.
    for method, implied, stated, gap in (
        ("Ours + CE", "62.52", "64.90", "+2.38"),
        ("Ours + LA", "69.01", "69.57", "+0.56"),
        ("Ours + BS", "69.65", "70.10", "+0.45"),
    ):
        assert f"= {implied}, stated {stated}: off by {gap}" in severe[method].message
    assert severe["Ours + CE"].message.startswith("0.1034 x 72.68 + 0.5006 x 63.91 + 0.3960 x 58.12 = 62.52")
    assert "69.65 is below its baseline Balanced Softmax (69.80)" in severe["Ours + BS"].message


def test_contradiction_3_accuracy_rises_with_the_imbalance(of_the_paper):
    findings = about(of_the_paper, "monotony")
    assert set(findings) == {("Table II", "Ours + LA", 0.75, "200")}
    (finding,) = findings.values()
    assert "45.93 at IF 200, but 44.65 at IF 100: +1.28" in finding.message


def test_the_consistent_rows_raise_none_of_the_three(of_the_paper):
    accused = {each.rows[0].method for each in of_the_paper if each.check in ("two tables", "group means", "monotony")}
    assert not accused & {"Cross-Entropy", "cRT", "LWS", "ALA"}


def test_a_row_just_outside_rounding_is_doubtful_and_no_contradiction(of_the_paper):
    (bbn,) = (each for key, each in about(of_the_paper, "group means").items() if key[1] == "BBN")
    assert bbn.severity == "doubtful"


def test_a_gain_below_the_noise_of_the_test_set_is_weak(of_the_paper):
    findings = about(of_the_paper, "gain within noise")
    finding = findings["Table IV", "Ours + BS", 0.75, "natural"]
    assert "70.10 - 69.80 (Balanced Softmax) = +0.30 (standard error 0.41 on 24,426 images)" in finding.message
    assert ("Table II", "Ours + CE", 0.75, "100") not in findings  # +1.43 is more than one standard error


def test_omegas_below_plain_cross_entropy_are_found(of_the_paper):
    findings = about(of_the_paper, "below baseline")
    assert {key[2] for key in findings if key[0] == "Table V"} == {0.25, 0.5}


def test_rows_below_the_plain_loss_of_the_claimed_protocol_are_found(of_the_paper):
    findings = about(of_the_paper, "claimed protocol")
    assert "36.12, but plain Cross-Entropy reaches 41.2" in findings["Table II", "Ours + CE", 0.75, "200"].message
    assert "46.20, but plain Balanced Softmax reaches 46.7" in findings["Table II", "Ours + BS", 0.75, "200"].message
    assert "48.91, but plain Balanced Softmax reaches 50.3" in findings["Table II", "Ours + BS", 0.75, "100"].message


def test_logit_adjustment_and_balanced_softmax_are_one_loss(of_the_paper):
    finding = about(of_the_paper, "same loss")["Table II", "Ours + LA", 0.75, "100"]
    assert "4.26 apart" in finding.message


def test_the_gravest_findings_come_first(of_the_paper):
    severities = [each.severity for each in of_the_paper]
    order = ["contradiction", "doubtful", "weak"]
    assert severities == sorted(severities, key=order.index)
    assert Counter(severities)["contradiction"] == 5


def test_the_standard_error_is_that_of_a_binomial_share():
    # 10,000 coin flips: 0.5 / sqrt(10,000) = 0.005.
    assert standard_error(50.0, 10_000) == pytest.approx(0.5)
    assert standard_error(61.7, 24_426) == pytest.approx(100 * math.sqrt(0.617 * 0.383 / 24_426))


GROUPS = "method,data,many,medium,few,overall\n"


@pytest.mark.parametrize(
    ("row", "severity"),
    [
        ("72.2,63.0,57.2,61.7", None),  # 61.65: rounding
        ("72.20,63.00,57.20,61.70", None),  # the same numbers with zeros that say nothing
        ("72.21,63.00,57.20,61.70", "contradiction"),  # now the zeros are digits
        ("72.2,63.0,57.2,61.5", "doubtful"),  # 0.15 off, rounding explains 0.10
        ("72.2,63.0,57.2,61.4", "contradiction"),
        ("72,63,57,62", None),
        ("72.2,63.0,,61.0", None),  # a group is missing: nothing to add up
    ],
)
def test_group_means_are_judged_by_the_digits_that_are_printed(row, severity):
    findings = found(f"{GROUPS}CE,inaturalist2018,{row}\n")
    assert [each.severity for each in findings] == ([severity] if severity else [])


def test_a_group_without_classes_counts_for_nothing_and_has_no_accuracy():
    header = "method,data,imbalance_factor,many,medium,few,overall\n"
    assert found(f"{header}CE,cifar100_lt,10,60.0,50.0,,56.9\n") == []
    assert found(f"{header}CE,cifar100_lt,10,60.0,50.0,0,56.9\n") == []  # 0 is how some programs print it
    (finding,) = found(f"{header}CE,cifar100_lt,10,60.0,50.0,12.0,56.9\n")
    assert "few: no class is in this group" in finding.message


def test_own_class_counts_are_taken():
    text = (
        "method,data,many,medium,few,overall,many_classes,medium_classes,few_classes\nCE,mine,80.0,60.0,40.0,{},1,1,2\n"
    )
    assert found(text.format("55.0")) == []
    assert found(text.format("60.0"))[0].severity == "contradiction"


def test_what_cannot_be_checked_is_said():
    rows = read_rows(f"{GROUPS}CE,mine,80,60,40,99\n", "table.csv")
    assert check_claims(rows) == []
    (sentence,) = not_checked(rows)
    assert "group means of 1 rows were not checked" in sentence
    assert "'mine'" in sentence
    assert not_checked(ccar_paper_rows()) == []


def test_different_recipes_and_papers_are_different_cells():
    header = "method,data,overall,epochs,paper\n"
    assert found(f"{header}LWS,inaturalist2018,65.9,90,A\nLWS,inaturalist2018,69.5,200,A\n") == []
    assert found(f"{header}LWS,inaturalist2018,65.9,90,A\nLWS,inaturalist2018,69.5,90,B\n") == []
    (finding,) = found(f"{header}LWS,inaturalist2018,65.9,90,A\nLWS,inaturalist2018,69.5,90,A\n")
    assert finding.message == "65.9 in line 2, 69.5 in line 3: 3.60 apart"


def test_the_same_number_with_other_digits_is_no_contradiction():
    assert found("method,data,overall\nCE,imagenet_lt,41.6\nCE,imagenet_lt,41.60\n") == []


def test_a_falling_accuracy_is_as_it_should_be():
    header = "method,data,imbalance_factor,overall\n"
    falling = "CE,cifar100_lt,10,55.7\nCE,cifar100_lt,100,38.4\nCE,cifar100_lt,50,43.9\n"
    assert found(header + falling) == []
    (finding,) = found(f"{header}{falling}CE,cifar100_lt,200,39.0\n")
    assert finding.gap == pytest.approx(0.6)


def test_a_gain_on_an_unknown_test_set_is_not_compared_with_noise():
    text = "method,data,overall,baseline\nCE,mine,50.0,\nOurs,mine,50.1,CE\nWorse,mine,49.0,CE\n"
    (finding,) = found(text)
    assert (finding.check, finding.severity) == ("below baseline", "doubtful")
    assert not_checked(read_rows(text, "table.csv")) == [
        "2 gains were not compared with noise: give test_images of 'mine'"
    ]
    sized = "method,data,overall,baseline,test_images\nCE,mine,50.0,,1000\nOurs,mine,50.1,CE,1000\n"
    assert [each.check for each in found(sized)] == ["gain within noise"]


def test_a_claimed_protocol_is_looked_up_among_the_published_rows():
    header = "method,base,data,imbalance_factor,backbone,overall,protocol\n"
    row = "CE,cross_entropy,cifar100_lt,200,resnet32,{},2007.10740\n"
    assert found(header + row.format("41.2"), *published_rows()) == []
    (finding,) = found(header + row.format("34.8"), *published_rows())
    assert (finding.check, finding.severity) == ("claimed protocol", "doubtful")


def test_a_row_is_described_by_its_table_or_line():
    (row,) = read_rows("method,data,imbalance_factor,overall\nCE,cifar100_lt,100,38.4\n", "table.csv")
    assert described(row) == "line 2: CE, cifar100_lt IF 100"
