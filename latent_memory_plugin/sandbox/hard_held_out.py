"""The twelve families of the hard half that nothing is ever tuned on: they are for final measurements."""

from latent_memory_plugin.sandbox.family import Family

HARD_HELD_OUT = (
    Family(
        "beds of a hotel",
        "held-out",
        {"a": (2, 6), "b": (2, 8), "c": (2, 4)},
        (
            "A hotel has {a} floors with {b} rooms each and {c} beds in a room. How many beds are there?",
            "{name} packs {a} boxes. In every box lie {b} bars of {c} pieces. How many pieces are packed?",
            "In {a} streets stand {b} houses each, and in a house live {c} cats. How many cats live there?",
            "{a} pages show {b} pictures each, with {c} birds in every picture. How many birds are shown?",
        ),
        (0.5, 0.48, 0.52, 0.42),
        "count = a * b; total = count * c",
        {
            "takes one of the outermost": "each = b * c",
            "adds the last": "part = a * b; part = part + c",
            "adds, then multiplies": "sum = a + b; sum = sum * c",
        },
        also_right=("one = b * c; total = one * a", "last = a * c; total = last * b"),
        leading=0.65,
        kinds=("ways",),
    ),
    Family(
        "as many as both",
        "held-out",
        {"a": (8, 60), "b": (2, 20)},
        (
            "{name} picks {a} pears, {other} picks {b} fewer, and their father as many as both. How many pears in all?",
            "A cup holds {a} spoons, a glass {b} spoons less, and a jug as much as the two. What do all three hold?",
            "{name} read {a} pages in June and {b} fewer in July. In August it was as many as in June and July together. "
            "How many pages was that in all?",
            "The hut has {a} steps, the barn {b} fewer, the tower as many as these two. How many steps have the three?",
        ),
        (0.42, 0.5, 0.48, 0.52),
        "less = a - b; both = a + less; total = both * 2",
        {
            "leaves the third out": "first = a - b; total = a + first",
            "takes fewer for more": "more = a + b; both = a + more; total = both * 2",
            "doubles the second": "rest = a - b; total = rest * 2",
        },
        also_right=(
            "double = a * 2; both = double - b; total = both * 2",
            "second = a - b; last = second + a; sum = a + second; total = sum + last",
        ),
        leading=0.65,
        kinds=("ways",),
    ),
    Family(
        "two heaps shared",
        "held-out",
        {"a": (12, 80), "b": (10, 60), "c": (2, 9)},
        (
            "{name} lays {a} dark and {b} white {thing} in {c} equal heaps. How many {thing} lie in a heap?",
            "Two classes of {a} and {b} pupils travel in {c} buses, equally full. How many pupils sit in a bus?",
            "{a} litres of milk and {b} litres of water go into {c} equal cans. How many litres does a can hold?",
            "{name} saves {a} coins, {other} saves {b}. They buy {c} equal gifts with all of it. What does a gift cost?",
        ),
        (0.52, 0.42, 0.5, 0.48),
        "whole = a + b; each = whole / c",
        {
            "shares the first alone": "part = a / c; part = part + b",
            "forgets to share": "all = a + b",
            "shares the second alone": "rest = b / c",
        },
        also_right=(
            "first = a / c; second = b / c; each = first + second",
            "last = b / c; start = a / c; each = last + start",
        ),
        leading=0.65,
        kinds=("ways",),
    ),
    Family(
        "on and off",
        "held-out",
        {"a": (40, 99), "b": (5, 30), "c": (3, 25)},
        (
            "On the bus sit {a} people. At this stop {b} get in and {c} get out. How many ride along now?",
            "A piggy bank holding {a} dollars receives {b}; afterwards {c} vanish. Balance?",
            "Shepherds own {a} sheep, buy {b} lambs, sell {c}. What is the size of that flock?",
            "{name} types {a} words, writes {b} extra words, deletes {c}. How long does the text become?",
        ),
        (0.48, 0.52, 0.42, 0.5),
        "sum = a + b; left = sum - c",
        {
            "takes both away": "rest = a - b; left = rest - c",
            "adds all": "all = a + b; all = all + c",
            "forgets the last": "both = a + b",
        },
        also_right=("less = a - c; left = less + b", "gap = b - c; left = a + gap"),
        leading=0.65,
        kinds=("reworded", "ways"),
    ),
    Family(
        "price of other amounts",
        "held-out",
        {"a": (6, 81), "b": (2, 9), "c": (2, 9)},
        (
            "{b} tickets cost {a} coins. What do {c} tickets cost?",
            "In {b} hours a printer makes {a} pages. How many pages are made in {c} hours?",
            "A recipe for {b} guests needs {a} grams of flour. Flour needed by {c} guests?",
            "Walking steadily, {name} goes {a} km within {b} days. Distance after {c} days?",
        ),
        (0.56, 0.54, 0.42, 0.52),
        "one = a / b; total = one * c",
        {
            "stops at one": "each = a / b",
            "adds the difference": "more = a + c; more = more - b",
            "forgets to divide": "all = a * c",
        },
        kinds=("reworded",),
    ),
    Family(
        "half as much again",
        "held-out",
        {"a": (8, 198)},
        (
            "The tree of {name} measures {a} m and grows by half its height. How tall is it now?",
            "{a} marchers set out; for every two of them, one person joins. How large does the crowd get?",
            "Bread that costs {a} coins becomes fifty percent dearer. What is the new price?",
            "Enough rice to feed a pair weighs {a} grams. What weight would three eaters need?",
        ),
        (0.52, 0.42, 0.56, 0.54),
        "half = a / 2; total = a + half",
        {
            "stops at the half": "part = a / 2",
            "doubles": "double = a * 2",
            "adds two": "more = a + 2",
        },
        kinds=("reworded",),
    ),
    Family(
        "taken before the split",
        "held-out",
        {"a": (20, 98), "b": (2, 12), "c": (2, 6)},
        (
            "{a} {thing} are dealt evenly to {c} friends. Before that, {name} takes {b} from all. "
            "How many does a friend have?",
            "A prize of {a} coins is split evenly by {c} players. A tax of {b} coins is paid before it by all. "
            "How many coins does a player keep?",
            "A rope of {a} m becomes {c} equal pieces, with {b} m cut off the rope at first. How long is a piece?",
            "{name} fills {c} equal cups from a can of {a} spoons and drinks {b} spoons from the can before. "
            "How many spoons are in a cup?",
        ),
        (0.52, 0.56, 0.42, 0.54),
        "less = a - b; each = less / c",
        {
            "takes it after the split": "part = a / c; each = part - b",
            "forgets what is taken": "share = a / c",
            "adds what is taken": "sum = a + b; each = sum / c",
        },
        kinds=("look-alike",),
        twin="taken after the split",
    ),
    Family(
        "taken after the split",
        "held-out",
        {"a": (20, 98), "b": (2, 12), "c": (2, 6)},
        (
            "{a} {thing} are dealt evenly to {c} friends. After that, {name} takes {b} from each. "
            "How many does a friend have?",
            "A prize of {a} coins is split evenly by {c} players. A tax of {b} coins is paid after it by each. "
            "How many coins does a player keep?",
            "A rope of {a} m becomes {c} equal pieces, with {b} m cut off each piece at last. How long is a piece?",
            "{name} fills {c} equal cups from a can of {a} spoons and drinks {b} spoons from each cup after. "
            "How many spoons are in a cup?",
        ),
        (0.54, 0.42, 0.56, 0.52),
        "part = a / c; each = part - b",
        {
            "takes it before the split": "less = a - b; each = less / c",
            "forgets what is taken": "share = a / c",
            "adds what is taken": "sum = a + b; each = sum / c",
        },
        kinds=("look-alike",),
        twin="taken before the split",
    ),
    Family(
        "halved, then more",
        "held-out",
        {"a": (10, 98), "b": (4, 40)},
        (
            "A pond holds {a} fish. Half of them die, and then {b} more come. How many fish are there now?",
            "{name} thinks of {a}, halves it and then adds {b}. What comes out?",
            "{name} has {a} {thing}, gives half away and then gets {b}. How many {thing} are there in the end?",
            "A fee of {a} coins is first cut by half and then raised by {b} coins. How high is it?",
        ),
        (0.48, 0.52, 0.5, 0.42),
        "half = a / 2; left = half + b",
        {
            "adds first": "sum = a + b; left = sum / 2",
            "forgets to halve": "all = a + b",
            "takes away": "less = a / 2; left = a - less",
        },
        also_right=(
            "double = b * 2; whole = a + double; left = whole / 2",
            "part = a / 2; rest = a - part; left = rest + b",
        ),
        leading=0.65,
        kinds=("look-alike", "ways"),
        twin="more, then halved",
    ),
    Family(
        "more, then halved",
        "held-out",
        {"a": (10, 98), "b": (4, 40)},
        (
            "A pond holds {a} fish. {b} more come, and then half of them die. How many fish are there now?",
            "{name} thinks of {a}, adds {b} and then halves it. What comes out?",
            "{name} has {a} {thing}, gets {b} and then gives half away. How many {thing} are there in the end?",
            "A fee of {a} coins is first raised by {b} coins and then cut by half. How high is it?",
        ),
        (0.52, 0.48, 0.42, 0.5),
        "sum = a + b; left = sum / 2",
        {
            "halves first": "half = a / 2; left = half + b",
            "forgets to halve": "all = a + b",
            "adds the double": "more = b * 2; left = a + more",
        },
        also_right=(
            "first = a / 2; second = b / 2; left = first + second",
            "whole = a + b; part = whole / 2; left = whole - part",
        ),
        leading=0.65,
        kinds=("look-alike", "ways"),
        twin="halved, then more",
    ),
    Family(
        "steps between",
        "held-out",
        {"a": (3, 15), "b": (2, 12)},
        (
            "Each cut of a saw takes {b} minutes. How many minutes does it take to saw a trunk into {a} pieces?",
            "{name} climbs from the first floor to floor {a}. One floor takes {b} seconds. How long is the climb?",
            "{a} posts stand in a line, {b} m from one to the next. How far is it from the first post to the last?",
            "A bell strikes {a} times, with {b} seconds from stroke to stroke. How long does it strike?",
        ),
        (0.32, 0.24, 0.52, 0.28),
        "gap = a - 1; total = gap * b",
        {
            "counts the ends": "all = a * b",
            "counts one too many": "more = a + 1; total = more * b",
            "adds the numbers": "sum = a + b",
        },
        leading=0.75,
        kinds=("misled",),
    ),
    Family(
        "place in a line",
        "held-out",
        {"a": (3, 40), "b": (3, 40)},
        (
            "{name} is number {a} from the front of a line and number {b} from its end. How many stand in the line?",
            "A book lies in place {a} from the left and place {b} from the right. How many books are on the shelf?",
            "From the top it is step {a}, from the bottom it is step {b}. How many steps has the stair?",
            "{name} was runner {a} from the best and runner {b} from the worst. How many runners took part?",
        ),
        (0.28, 0.52, 0.24, 0.32),
        "sum = a + b; count = sum - 1",
        {
            "counts the place twice": "both = a + b",
            "adds the place": "more = a + b; more = more + 1",
            "leaves out two": "less = a + b; less = less - 2",
        },
        leading=0.75,
        kinds=("misled",),
    ),
)
"""Twelve families, four phrasings each."""
