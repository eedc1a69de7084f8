"""What the shared workflows are: their nodes, where they stand, and how they are wired."""

from __future__ import annotations

from kontext_core.world.examples import EXAMPLES
from kontext_core.world.scenes import SIZE_PX

from . import workflow_parts as parts
from .workflow_chains import (
    a_first_chain,
    branch_and_compare,
    five_turn_chain,
    resume_from_png,
    script,
    three_turn_edit,
    twenty_turns,
)
from .workflow_parts import COLUMN, EDIT_ROW, MODEL_ROW, OWN, PICTURE_ROW, WIDE, WORLD, Graph, Node


def text_to_image() -> Graph:
    """Words alone, in single nodes."""
    example = EXAMPLES["text_to_image"]
    nodes = {
        "model": parts.model(0, 0),
        "note": parts.note(
            0,
            MODEL_ROW,
            240,
            "## Text to image",
            "No reference: the picture is made from words alone.",
            WORLD,
        ),
        "prompt": Node("KontextEncodePrompt", (COLUMN, 0), (WIDE, 300), {"text": example.instructions[0]}),
        "sampler": parts.sampler(2 * COLUMN, 0, example.seeds[0]),
        "decode": Node("KontextDecode", (3 * COLUMN, 0), (WIDE, 60)),
        "save": parts.save(3 * COLUMN, 140, "kontext_text_to_image"),
    }
    links = [
        "model.model > prompt.model",
        "model.model > sampler.model",
        "prompt.prompt > sampler.prompt",
        "model.model > decode.model",
        "sampler.latent > decode.latent",
        "decode.image > save.images",
    ]
    return Graph(nodes, links)


def single_edit() -> Graph:
    """One edit in one box."""
    example = EXAMPLES["single_edit"]
    nodes = {
        "note": parts.note(0, 0, 300, "## One edit", WORLD, OWN),
        "model": parts.model(COLUMN, 0),
        "picture": parts.picture(COLUMN, MODEL_ROW, example.pictures[0]),
        "edit": parts.edit(2 * COLUMN, 0, example.instructions[0], example.seeds[0]),
        "save": parts.save(3 * COLUMN, 0, "kontext_edit"),
    }
    links = ["model.model > edit.model", "picture.image > edit.image", "edit.image > save.images"]
    return Graph(nodes, links)


def two_references() -> Graph:
    """Two pictures for one result, in single nodes."""
    example = EXAMPLES["two_references"]
    nodes = {
        "model": parts.model(0, 0),
        "first": parts.picture(0, MODEL_ROW, example.pictures[0], "Picture 1"),
        "second": parts.picture(0, MODEL_ROW + PICTURE_ROW, example.pictures[1], "Picture 2"),
        "prompt": Node(
            "KontextEncodePrompt", (2 * COLUMN, 0), (WIDE, 300), {"text": example.instructions[0]}
        ),
        "one": Node("KontextReference", (COLUMN, 0), (WIDE, 480), {"name": "the scene"}),
        "two": Node("KontextReference", (COLUMN, 580), (WIDE, 480), {"name": "the thing"}),
        "sampler": parts.sampler(2 * COLUMN, 360, example.seeds[0]),
        "note": parts.note(
            3 * COLUMN,
            520,
            200,
            "## Two references",
            "References are chained: the result has the size of the first.",
            OWN,
        ),
        "decode": Node("KontextDecode", (3 * COLUMN, 0), (WIDE, 60)),
        "save": parts.save(3 * COLUMN, 140, "kontext_two_references"),
    }
    links = [
        "model.model > prompt.model",
        "model.model > one.model",
        "model.model > two.model",
        "first.image > one.image",
        "second.image > two.image",
        "one.references > two.references",
        "model.model > sampler.model",
        "prompt.prompt > sampler.prompt",
        "two.references > sampler.references",
        "model.model > decode.model",
        "sampler.latent > decode.latent",
        "decode.image > save.images",
    ]
    return Graph(nodes, links)


def drawn_ellipse() -> Graph:
    """A mark upon the picture says which of two like things is meant."""
    example = EXAMPLES["drawn_ellipse"]
    nodes = {
        "note": parts.note(
            0,
            0,
            300,
            "## Pointing",
            "Two things of the same kind: words alone do not say which one. **Kontext Visual Cue** holds "
            "marks as vectors, and the instruction refers to them. *Draw on the picture* in the node opens "
            "the editor.",
            OWN,
        ),
        "model": parts.model(0, 380),
        "picture": parts.picture(COLUMN, 0, example.pictures[0]),
        "cue": Node("KontextVisualCue", (COLUMN, PICTURE_ROW), (WIDE, 200), {"marks": example.marks}),
        "edit": parts.edit(2 * COLUMN, 0, example.instructions[0], example.seeds[0]),
        "save": parts.save(3 * COLUMN, 0, "kontext_pointed"),
    }
    links = [
        "picture.image > cue.image",
        "model.model > edit.model",
        "cue.image > edit.image",
        "edit.image > save.images",
    ]
    return Graph(nodes, links)


def masked_edit() -> Graph:
    """Only what is white in the mask may change."""
    example = EXAMPLES["masked_edit"]
    assert example.mask is not None
    left, top, width, height = example.mask
    side = {"value": 0.0, "width": 128, "height": 128}
    nodes = {
        "note": parts.note(
            0,
            0,
            300,
            "## An edit inside a mask",
            "Everything black in the mask stays as it is, in every step; **feather** softens the edge. The "
            "mask here is a box. For your own picture, use **Load Image** and its *Open in MaskEditor*.",
            OWN,
        ),
        "model": parts.model(0, 380),
        "picture": parts.picture(COLUMN, 0, example.pictures[0]),
        "black": Node("SolidMask", (COLUMN, PICTURE_ROW), (WIDE, 110), side, "All black"),
        "white": Node(
            "SolidMask",
            (COLUMN, 550),
            (WIDE, 110),
            {"value": 1.0, "width": width, "height": height},
            "White box",
        ),
        "mask": Node("MaskComposite", (COLUMN, 740), (WIDE, 130), {"x": left, "y": top, "operation": "add"}),
        "edit": parts.edit(2 * COLUMN, 0, example.instructions[0], example.seeds[0], feather=0),
        "save": parts.save(3 * COLUMN, 0, "kontext_masked"),
    }
    links = [
        "black.MASK > mask.destination",
        "white.MASK > mask.source",
        "mask.MASK > edit.mask",
        "model.model > edit.model",
        "picture.image > edit.image",
        "edit.image > save.images",
    ]
    return Graph(nodes, links)


def three_references() -> Graph:
    """Three pictures in one stack, told apart by their number."""
    example = EXAMPLES["three_references"]
    nodes = {
        "model": parts.model(0, 0),
        "prompt": Node("KontextEncodePrompt", (0, MODEL_ROW), (WIDE, 300), {"text": example.instructions[0]}),
        "note": parts.note(
            0,
            800,
            220,
            "## Three references",
            "**Kontext Reference Grid** takes four pictures at once; the first sets the size of the result, "
            "and the instruction refers to the others by number.",
            OWN,
        ),
        "first": parts.picture(COLUMN, 0, example.pictures[0], "Picture 1"),
        "second": parts.picture(COLUMN, PICTURE_ROW, example.pictures[1], "Picture 2"),
        "third": parts.picture(COLUMN, 2 * PICTURE_ROW, example.pictures[2], "Picture 3"),
        "grid": Node("KontextReferenceGrid", (2 * COLUMN, 0), (WIDE, 480)),
        "sampler": parts.sampler(3 * COLUMN, 0, example.seeds[0]),
        "decode": Node("KontextDecode", (2 * COLUMN, 560), (WIDE, 60)),
        "save": parts.save(2 * COLUMN, 700, "kontext_three_references"),
    }
    links = [
        "model.model > prompt.model",
        "first.image > grid.image_1",
        "second.image > grid.image_2",
        "third.image > grid.image_3",
        "model.model > grid.model",
        "model.model > sampler.model",
        "prompt.prompt > sampler.prompt",
        "grid.references > sampler.references",
        "model.model > decode.model",
        "sampler.latent > decode.latent",
        "decode.image > save.images",
    ]
    return Graph(nodes, links)


def style_reference() -> Graph:
    """What picture 1 shows, as picture 2 is drawn."""
    example = EXAMPLES["style_reference"]
    nodes = {
        "note": parts.note(
            COLUMN,
            0,
            300,
            "## Style of another picture",
            "**Kontext Edit** edits its picture; the model also looks at what is connected to "
            "**references**, as picture 2.",
            WORLD,
            OWN,
        ),
        "model": parts.model(0, 0),
        "picture": parts.picture(0, MODEL_ROW, example.pictures[0], "Picture 1"),
        "style": parts.picture(0, MODEL_ROW + PICTURE_ROW, example.pictures[1], "Picture 2: the style"),
        "reference": Node("KontextReference", (COLUMN, 500), (WIDE, 480)),
        "edit": parts.edit(2 * COLUMN, 0, example.instructions[0], example.seeds[0]),
        "save": parts.save(3 * COLUMN, 0, "kontext_style"),
    }
    links = [
        "model.model > edit.model",
        "picture.image > edit.image",
        "style.image > reference.image",
        "model.model > reference.model",
        "reference.references > edit.references",
        "edit.image > save.images",
    ]
    return Graph(nodes, links)


def large_picture() -> Graph:
    """A picture larger than the model's size comes back at its own, changed in one place."""
    example = EXAMPLES["large_picture"]
    side = example.scale * SIZE_PX
    nodes = {
        "note": parts.note(
            0,
            0,
            320,
            "## One thing changed",
            f"The picture has {side} x {side} px, the model works at {SIZE_PX} x {SIZE_PX}. **size: original** puts "
            "what changed into the picture as it came; with **keep_outside: auto** every other pixel stays as it "
            "is, bit for bit. *Where it changed* shows what was found.",
            OWN,
        ),
        "model": parts.model(0, 400),
        "picture": parts.picture(COLUMN, 0, example.pictures[0]),
        "large": Node(
            "ImageScale",
            (COLUMN, PICTURE_ROW),
            (WIDE, 130),
            {"upscale_method": "lanczos", "width": side, "height": side},
            "A large picture",
        ),
        "edit": parts.edit(2 * COLUMN, 0, example.instructions[0], example.seeds[0], size="original"),
        "save": parts.save(3 * COLUMN, 0, "kontext_large_picture"),
        "white": Node("MaskToImage", (2 * COLUMN, EDIT_ROW), (WIDE, 40)),
        "mask": Node("PreviewImage", (3 * COLUMN, EDIT_ROW), (WIDE, 320), title="Where it changed"),
    }
    links = [
        "model.model > edit.model",
        "picture.image > large.image",
        "large.IMAGE > edit.image",
        "edit.image > save.images",
        "edit.mask > white.mask",
        "white.IMAGE > mask.images",
    ]
    return Graph(nodes, links)


GRAPHS = {
    make.__name__: make
    for make in (
        a_first_chain,
        text_to_image,
        single_edit,
        drawn_ellipse,
        masked_edit,
        large_picture,
        two_references,
        three_references,
        style_reference,
        three_turn_edit,
        five_turn_chain,
        branch_and_compare,
        script,
        twenty_turns,
        resume_from_png,
    )
}
