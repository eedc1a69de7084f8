import torch

from kontext_core.world import Scene, Thing, Word
from kontext_core.world.labels import CONTENTS, FIELDS, UNSEEN, cell_labels
from kontext_core.world.scenes import BACKGROUNDS, COLOURS

SCENE = Scene("sand", (Thing("star", "blue", "small", 1, 2),), Word("cat", "red", 3, 1), "inked", "warm")


def test_each_cell_says_what_stands_in_it() -> None:
    labels = dict(zip(FIELDS, cell_labels([SCENE])[0].T, strict=True))
    shown = {
        cell: CONTENTS[number] for cell, number in enumerate(labels["content"].tolist()) if CONTENTS[number]
    }
    assert shown == {6: "star", 13: "c", 14: "a", 15: "t"}
    assert labels["colour"][6] == list(COLOURS).index("blue")
    assert labels["colour"][13] == list(COLOURS).index("red")
    assert labels["size"][6] == 0


def test_what_does_not_show_has_no_class() -> None:
    labels = dict(zip(FIELDS, cell_labels([SCENE])[0].T, strict=True))
    assert (labels["colour"] == UNSEEN).sum() == 12
    assert labels["size"].tolist().count(UNSEEN) == 15, "letters have one size"
    empty = dict(zip(FIELDS, cell_labels([Scene("sky")])[0].T, strict=True))
    assert (empty["style"] == UNSEEN).all(), "an empty picture is in no style"


def test_the_whole_picture_is_told_in_every_cell() -> None:
    labels = dict(zip(FIELDS, cell_labels([SCENE])[0].T, strict=True))
    assert (labels["background"] == list(BACKGROUNDS).index("sand")).all()
    assert (labels["style"] == 2).all()
    assert (labels["palette"] == 1).all()
    assert (labels["time"] == 0).all()


def test_classes_fit_their_fields() -> None:
    highest = cell_labels([SCENE, Scene("lake", time="night", palette="grey")]).flatten(0, 1).amax(0)
    assert torch.all(highest < torch.tensor(list(FIELDS.values())))
