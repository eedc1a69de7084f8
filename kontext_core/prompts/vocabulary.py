"""Words that the lint's rules look for, by what they do in an instruction."""

from collections.abc import Iterable


def word_set(text: str) -> frozenset[str]:
    """Collect the words of a text."""
    return frozenset(text.split())


def either(words: Iterable[str]) -> str:
    """Write a regular expression for any of the words, longest first."""
    return "|".join(sorted(words, key=lambda word: (-len(word), word)))


COLOURS = word_set(
    "red green blue yellow orange purple violet pink brown black white grey gray gold golden silver beige teal "
    "turquoise cyan magenta navy maroon crimson scarlet lavender ivory cream olive tan bronze copper burgundy "
    "emerald indigo peach mint coral khaki lime mauve"
)

# What an instruction begins with, or goes on with after a comma: verbs that ask for a change.
CHANGES = word_set(
    "add alter animate apply attach blend blur brighten bring build change clean colorize colour color colourise "
    "colorise colourize combine convert cover create crop cut darken decorate delete draw dress edit enlarge "
    "erase exchange extend fill fix flip generate give hang hide increase insert install invert light lift "
    "lower make merge mirror modify move open paint place plant position pose print put raise recolor recolour "
    "reduce redraw reimagine relight relocate remove rename render repaint replace resize restore restyle "
    "retouch rewrite rotate scale set shift show shrink sketch smooth spell straighten stylize stylise swap "
    "switch take tilt transfer transform translate turn update use widen wrap write zoom"
)
STAYS = word_set("ensure hold keep leave let maintain preserve retain")

# Verbs that begin an instruction but count as no change of their own.
OTHER_VERBS = word_set(
    "close copy depict dye elongate feature fold grow have include lengthen lean look match point press push pull "
    "reshape reveal roll shave shorten simulate sit soften spin spread stand stretch swing tuck undo unbutton "
    "wear"
)

FUNCTION_WORDS = word_set(
    "about above across after again against all along also and another any around as at be because been before "
    "behind being below beneath beside besides between beyond but by can could down during each either else "
    "every finally first for from has how if in inside instead into is are was were it its just let near next "
    "now of off on once one only onto or other our out outside over per please same shall should since slightly "
    "so some still such than that the their them then there these they this those through to together too "
    "toward towards under until up upon using very via we what when where which while who will with within "
    "without would you your he she him his her hers my a an not no more less much"
)
DETERMINERS = word_set(
    "the a an this that these those my your our each every both all another some any two three four five six "
    "several many"
)

PICTURES = word_set(
    "picture pictures image images photo photos photograph photographs pic pics scene frame shot painting drawing "
    "portrait illustration render style"
)

PEOPLE = word_set(
    "man men woman women boy boys girl girls person people child children kid kids baby babies guy guys lady "
    "ladies gentleman bride groom couple character characters figure subject model player dancer singer actor "
    "actress king queen prince princess knight wizard witch robot monster hero heroine soldier astronaut chef "
    "doctor nurse teacher student worker mother father mom dad mum daughter son sister brother grandmother "
    "grandfather friend friends family dog dogs cat cats puppy kitten horse bear bird fox rabbit lion tiger "
    "elephant monkey animal animals duck owl panda everyone everybody someone somebody"
)

# What people wear, do or stand before: no one that she, he or they could mean.
NO_PERSON = (
    word_set(
        "hat cap beanie crown tiara helmet glasses sunglasses goggles mask t-shirt close-up closeup scarf tie necktie bow ribbon necklace "
        "earring earrings bracelet ring watch shirt t blouse sweater hoodie jacket coat suit dress skirt jeans "
        "trousers pants shorts shoes shoe boots sneakers gloves socks uniform outfit costume clothes clothing bag "
        "backpack umbrella hair hairstyle haircut ponytail beard moustache mustache smile frown expression face eyes "
        "eye nose mouth lips head hand hands arm arms leg legs skin makeup lipstick tattoo freckles pose "
        "background foreground sky beach forest city street room wall floor lighting light color colour pair bunch "
        "bouquet flower flowers cup mug book phone sword style picture image photo camera look left right top "
        "bottom side front back middle center centre same new big bigger small smaller large larger little long "
        "longer short shorter dark darker bright brighter blond blonde curly straight"
    )
    | COLOURS
)
