from __future__ import annotations

import math
from dataclasses import replace

import pandas as pd
import pytest

from ccar.reports import finding
from ccar.reports.results import summarise
from tests.evidence.made_up_study import made_up_study
from tests.reports.conftest import input_of, tied_input


def results_of(**options):
    return summarise(input_of(made_up_study(**options)))


def test_size_and_subject_are_told(source):
    told = finding.what_was_run(summarise(source))
    assert told == (
        "72 trials: 12 methods of 3 base losses at IF 100 and IF 50, 3 seeds; resnet32 on cifar100 with the recipe "
        "ldam_drw_cifar. Baseline: cross_entropy."
    )


def test_what_single_methods_change_of_a_recipe_is_not_said_of_all():
    cells = pd.DataFrame({"recipe": ["mine"] * 3, "recipe_changes": ["epochs, mixing", "batch_size, epochs", "epochs"]})
    assert finding.recipes_of(cells) == ["mine (changed: epochs)"]
    cells.loc[2, "recipe_changes"] = ""
    assert finding.recipes_of(cells) == ["mine"]


def test_what_is_not_as_its_name_says_is_told():
    told = finding.what_was_run(
        results_of(class_order="reversed", recipe={"name": "ldam_drw_cifar", "epochs": 190, "batch_size": 64})
    )
    assert told.endswith(
        "; resnet32 on cifar100 (class_order=reversed) with the recipe ldam_drw_cifar (changed: epochs, batch_size). "
        "Baseline: cross_entropy."
    )


def test_what_a_method_or_its_procedure_changes_is_not_said_of_the_recipe_of_the_study():
    extra = [{"procedure": "crt"}, {"label": "faster", "base": "cross_entropy", "recipe": {"learning_rate": 0.2}}]
    told = finding.what_was_run(results_of(methods={"bases": ["cross_entropy"], "extra": extra}))
    assert told.endswith("with the recipe ldam_drw_cifar. Baseline: cross_entropy.")


def test_controls_and_procedures_are_no_base_losses():
    extra = [
        {"base": "cross_entropy", "loss_factor": 2.1},
        {"base": "cross_entropy", "recipe": {"learning_rate": 0.2}},
        {"procedure": "crt"},
        {"base": {"name": "focal", "gamma": 2}},
    ]
    told = finding.what_was_run(results_of(methods={"bases": ["cross_entropy", "focal"], "extra": extra}))
    assert told.startswith("18 trials: 6 methods of 3 base losses at IF 100, ")


def test_what_did_not_finish_is_told(source):
    told = finding.what_did_not_finish(summarise(source))
    assert told.startswith("70 of 72 trials finished; 1 diverged and 1 failed.")


def test_the_images_of_a_class_are_counted(source):
    assert finding.images_per_class(summarise(source)) == (
        "Training images per class: 500 to 5 at IF 100. Validation images per class: 10, 50 in all."
    )


def test_of_images_that_nobody_counted_nothing_is_told(study):
    assert finding.images_per_class(summarise(input_of(study, class_counts={}))) == "Validation images per class: 10."
    none = made_up_study(validation_per_class=0)
    assert finding.images_per_class(summarise(input_of(none, class_counts={}))) == ""


def test_a_validation_part_that_the_set_comes_with_is_not_counted_per_class(study):
    own = study.validation.assign(validation_per_class="own")
    told = finding.images_per_class(summarise(input_of(study, validation=own)))
    assert told.endswith(" Validation images: those that the set comes with.")


def test_the_headline_names_the_base_losses_of_each_verdict(source):
    results = summarise(source)
    told = finding.headline(results, results.settings[0])
    beginning = "IF 100: the ω chosen on validation, against its own plain base loss: "
    assert told.startswith(beginning)
    choices = results.settings[0].of(results.choices)
    for part in told.removeprefix(beginning).removesuffix(".").split("; "):
        verdict, families = part.split(" for ")
        assert families == " and ".join(choices.loc[choices["versus_plain_verdict"] == verdict, "family"])


def test_a_headline_counts_verdicts_where_it_would_name_more_than_four():
    bases = ["cross_entropy", "focal", "ldam", "logit_adjustment", "balanced_softmax"]
    results = results_of(methods={"bases": bases, "reweighting": {"omega": 0.75}})
    told = finding.headline(results, results.settings[0])
    assert told.endswith(" of 5 choices.")
    for word, number in results.choices["versus_plain_verdict"].value_counts().items():
        assert f"{word} for {number}" in told


def test_a_detail_names_choice_effect_interval_seeds_and_verdict(source):
    results = summarise(source)
    told = finding.details(results, results.settings[0])[1]
    assert told.startswith(
        "focal+ccar(omega=0.75) (best of 2 candidates on validation, 1 left out for missing seeds): "
    )
    assert "against plain focal (95 % interval " in told
    assert ", 3 seeds, p = " in told
    assert f" after correction): {results.choices.iloc[1]['versus_plain_verdict']}" in told
    assert told.endswith(" more seeds would probably settle an effect of the estimated size.")


def test_an_effect_of_about_zero_is_not_to_be_settled_by_more_seeds(source):
    results = summarise(source)
    nothing = replace(results, choices=results.choices.assign(versus_plain_more_seeds=math.inf))
    told = finding.details(nothing, results.settings[0])[1]
    assert told.endswith(f" after correction): {results.choices.iloc[1]['versus_plain_verdict']}.")
    assert finding.seeds_to_settle(nothing) is None


def test_a_choice_between_candidates_that_are_equal_on_validation_is_called_a_tie():
    results = summarise(tied_input(made_up_study(methods=FOUR_OMEGAS)))
    told = finding.details(results, results.settings[0])[0]
    assert told.startswith(
        "cross_entropy+ccar(omega=0.25) (4 of 4 candidates share the best mean on validation; the steadiest over the "
        "seeds, then the smallest ω, stands): "
    )
    assert finding.ties(results) == (
        "ω rests on a tie; candidates that share the best mean on validation: IF 100: cross_entropy 4 of 4. Of those, "
        "the steadiest over the seeds, then the smallest ω, stands; more validation images could tell them apart."
    )


def test_a_choice_that_validation_made_is_no_tie(source):
    assert finding.ties(summarise(source)) is None


FOUR_OMEGAS = {"bases": ["cross_entropy"], "reweighting": {"omega": [0.25, 0.5, 0.75, 1.0]}}
FOCAL = {"bases": ["cross_entropy", "focal"], "reweighting": {"omega": [0.5, 0.75]}}


@pytest.mark.parametrize(
    ("status", "verdict", "headline"),
    [
        ("diverged", "not judged: seeds dropped out", "; not judged: seeds dropped out for focal."),
        ("failed", "too few seeds to tell", "base loss: better for cross_entropy."),
    ],
)
def test_a_plain_loss_without_finished_seeds_is_not_called_lacking(status, verdict, headline):
    study = made_up_study(methods=FOCAL)
    for key in study.keys("focal"):
        study = study.ended(key, status, "")
    results = summarise(input_of(study))
    told = finding.details(results, results.settings[0])[1]
    assert f" %; plain focal has no finished seed beside it ({verdict})." in told
    assert "there is no plain" not in told
    assert finding.headline(results, results.settings[0]).endswith(headline)


def test_a_method_all_of_whose_seeds_dropped_out_is_named_as_not_judged():
    study = made_up_study(methods={"bases": ["cross_entropy", "focal", "ldam"]})
    for key in study.keys("focal"):
        study = study.ended(key, "diverged", "")
    results = summarise(input_of(study))
    told = finding.headline(results, results.settings[0])
    assert told.endswith("; not judged: seeds dropped out for focal.")


def test_a_study_that_lacks_the_plain_loss_says_so():
    extra = [{"base": "focal", "reweighting": {"omega": 0.5}}]
    results = results_of(methods={"bases": ["cross_entropy"], "extra": extra})
    told = finding.details(results, results.settings[0])[0]
    assert told.endswith(" %; there is no plain focal to compare with.")
    assert finding.headline(results, results.settings[0]) == "IF 100: the ω chosen on validation."


def test_trials_that_found_their_checkpoint_damaged_are_told():
    study = made_up_study()
    key = study.keys("cross_entropy")[1]
    for no_damage in (study, study.ended(key, "failed", "OSError: the network is gone")):
        assert finding.damaged_checkpoints(summarise(input_of(no_damage))) is None
    found = study.ended(key, "finished", "checkpoint-000002.pt was damaged; the trial went on from the state before it")
    told = finding.damaged_checkpoints(summarise(input_of(replace(found, tests=study.tests))))
    assert "1 trial found a checkpoint damaged and went on from the one before it" in told
    assert told.endswith(": if100/cross_entropy seed 1.")


def test_with_two_seeds_every_verdict_is_that_nothing_can_be_told():
    results = results_of(seeds=(0, 1))
    assert set(results.choices["versus_plain_verdict"]) == {"too few seeds to tell"}
    assert finding.seeds_warning(results).startswith("With 2 seeds no difference can be told from noise")
    assert finding.multiplicity(results) is None


def test_one_seed_has_a_difference_but_no_interval():
    told = finding.details(results := results_of(seeds=(0,)), results.settings[0])[0]
    assert "interval" not in told
    assert told.endswith("(1 seed): too few seeds to tell.")


def test_without_a_validation_part_the_report_says_why_nothing_is_chosen():
    results = results_of(validation_per_class=0)
    assert "holds out no validation images (validation_per_class: 0)" in finding.no_choice(results)
    assert finding.headline(results, results.settings[0]).startswith("IF 100: against the baseline cross_entropy: ")


def test_a_study_without_omegas_compares_its_methods_with_the_baseline():
    results = results_of(methods={"bases": ["cross_entropy", "focal", "ldam"]})
    assert finding.no_choice(results) == "No ω is chosen: no method of this study is re-weighted."
    assert finding.headline(results, results.settings[0]).endswith(" cross_entropy: better for focal and ldam.")


def test_before_anything_has_finished_nothing_is_found():
    study = made_up_study()
    results = summarise(input_of(study.never_ran))
    assert finding.no_choice(results) == "No ω is chosen yet: no re-weighted trial has finished."
    assert finding.headline(results, results.settings[0]) is None
    assert finding.what_did_not_finish(results).startswith("0 of 18 trials finished; 18 absent.")


def test_verdicts_are_corrected_for_every_candidate_and_not_for_the_chosen_ones_alone():
    methods = {"bases": ["cross_entropy", "focal"], "reweighting": {"omega": [0.5, 0.75, 1.0]}}
    told = finding.multiplicity(results_of(methods=methods))
    assert told.startswith("The verdicts are corrected for 6 comparisons, each candidate against its plain base loss")
    assert told.endswith(
        "of studies in which nothing differs, at most 5 in 100 say better or worse among these comparisons."
    )


def test_where_no_choice_has_a_plain_loss_the_verdicts_against_the_baseline_are_those_that_are_counted():
    extra = [{"base": base, "reweighting": {"omega": 0.5}} for base in ("focal", "balanced_softmax")]
    results = results_of(methods={"bases": ["cross_entropy"], "extra": extra})
    assert results.choices["versus_baseline_p"].notna().all()
    told = finding.multiplicity(results)
    assert told.startswith("The verdicts are corrected for 2 comparisons, each against the baseline (Holm): ")


def test_where_the_test_set_would_have_picked_the_same_omegas_no_points_are_told(source):
    results = summarise(source)
    same = "Picking ω on the test set would have made the same 6 choices."
    assert finding.claimed_by_test_picking(results) == same
    one = replace(results, optimism=results.optimism.head(1))
    assert finding.claimed_by_test_picking(one) == "Picking ω on the test set would have made the same choice."


def test_another_omega_that_is_as_good_on_the_test_set_is_not_the_same_choice(source):
    results = summarise(source)
    other = replace(results, optimism=results.optimism.assign(picked_cell="another"))
    assert finding.claimed_by_test_picking(other) == (
        "Picking ω on the test set would have claimed +0.00 points more on average of 6 choices."
    )


def test_what_test_picking_would_have_claimed_is_told(source):
    results = summarise(source)
    optimism = results.optimism.assign(optimism=[0.0, 0.012, 0.0, 0.0, 0.006, 0.0], picked_cell="another")
    lucky = replace(results, optimism=optimism)
    assert finding.claimed_by_test_picking(lucky) == (
        "Picking ω on the test set would have claimed +0.30 points more on average of 6 choices, +1.20 for focal at "
        "IF 100."
    )


def test_the_seeds_that_would_settle_what_is_open_are_told(source):
    results = summarise(source)
    told = finding.seeds_to_settle(results)
    row = results.choices.iloc[1]
    assert f"IF 100: {row['family']} {row['versus_plain_more_seeds']:.0f}, " in told


def test_what_validation_cannot_tell_from_the_choice_is_told(source):
    results = summarise(source)
    flat = results.flat.mask(results.flat.index.str.startswith("if100/cross_entropy"), other=True)
    told = finding.details(replace(results, flat=flat), results.settings[0])[0]
    assert told.endswith("Validation cannot tell 2 other candidates from it (flat region: ω from 0.25 to 0.75).")


def test_an_omega_that_validation_tells_apart_leaves_a_gap_in_the_flat_region(source):
    results = summarise(source)
    flat = results.flat.mask(results.flat.index.str.startswith("if100/cross_entropy"), other=True)
    flat["if100/cross_entropy+ccar(omega=0.5)"] = False
    told = finding.details(replace(results, flat=flat), results.settings[0])[0]
    assert told.endswith("Validation cannot tell 1 other candidate from it (flat region: ω = 0.25 and ω = 0.75).")


def test_an_omega_that_was_left_out_for_missing_seeds_is_not_counted_as_a_candidate_in_the_flat_region(source):
    results = summarise(source)  # omega 0.5 of the focal loss has a seed that diverged
    flat = results.flat.mask(results.flat.index.str.startswith("if100/focal"), other=True)
    told = finding.details(replace(results, flat=flat), results.settings[0])[1]
    assert told.endswith("Validation cannot tell 1 other candidate from it (flat region: ω = 0.25 and ω = 0.75).")


def test_survivors_of_early_stopping_are_said_not_to_be_judged_and_are_counted():
    study = made_up_study(seeds=(0, 1, 2, 3))
    stopped = study.ended(study.keys("cross_entropy")[0], "stopped", "")
    results = summarise(input_of(stopped))
    assert "Cells with stopped or diverged seeds are not judged" in finding.what_did_not_finish(results)
    told = finding.details(results, results.settings[0])[0]
    assert "3 seeds): not judged: seeds dropped out." in told
    assert finding.multiplicity(results).startswith("The verdicts are corrected for 4 comparisons")
