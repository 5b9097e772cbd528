from __future__ import annotations

from ccar.store.gpu_notes import GpuNote
from ccar.store.seal import sealed
from ccar.store.trial_store import TrialStore
from tests.store.examples import CONFIG


def test_a_note_that_is_damaged_or_of_another_version_is_as_good_as_none(tmp_path):
    notes = TrialStore(tmp_path).gpu_notes
    for gpu in ("one kind", "another kind", "a third kind"):
        notes.write(CONFIG, 0.5, GpuNote(gpu, 2))
    damaged, newer, whole = sorted((tmp_path / "gpus").iterdir())
    [kept] = [note for note in notes.read(CONFIG, 0.5) if note.gpu in whole.read_text()]
    damaged.write_bytes(b"")
    newer.write_bytes(sealed({"gpu": "a newer kind", "trials_per_gpu": 2, "watts": 700}))
    assert notes.read(CONFIG, 0.5) == [kept]
    assert notes.read(CONFIG, 1.0) == []
