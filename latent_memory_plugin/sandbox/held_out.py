"""The twelve families that nothing is ever tuned on: they are for final measurements."""

from latent_memory_plugin.sandbox.family import Family

HELD_OUT = (
    Family(
        "rope cuts", "held-out", {"a": (12, 96), "b": (2, 9)},
        (
            "A rope of {a} m is cut into pieces of {b} m. How many cuts are made?",
            "{name} saws a beam of {a} cm into blocks of {b} cm. How many times does {name} saw?",
            "A ribbon {a} cm long becomes strips of {b} cm. How many cuts does that take?",
            "How often must {name} cut a pipe of {a} m to get pieces of {b} m?",
        ),
        (0.58, 0.54, 0.6, 0.37),
        "pieces = a / b; cuts = pieces - 1",
        {"counts the pieces": "pieces = a / b", "one cut too many": "pieces = a / b; cuts = pieces + 1"},
    ),
    Family(
        "boxes and loose", "held-out", {"a": (3, 20), "b": (3, 9), "c": (2, 20)},
        (
            "{name} has {a} boxes with {b} {thing} each and {c} loose {thing}. How many {thing} are there?",
            "There are {a} rows of {b} chairs and {c} chairs by the wall. How many chairs in all?",
            "{name} packs {a} bags of {b} {thing}, and {c} do not fit. How many {thing} did {name} have?",
            "A hall has {a} tables with {b} guests each. {c} guests stand. How many guests came?",
        ),
        (0.6, 0.55, 0.38, 0.58),
        "packed = a * b; total = packed + c",
        {"forgets the loose ones": "packed = a * b", "takes the loose ones away": "packed = a * b; total = packed - c", "adds all numbers": "total = a + b; total = total + c"},
    ),
    Family(
        "ten percent off", "held-out", {"a": (20, 400)},
        (
            "A coat costs {a} coins. In the sale it is 10 percent cheaper. What does it cost now?",
            "{name} gets 10 percent off a bike of {a} coins. How much does {name} pay?",
            "The price of {a} coins falls by 10 percent. What is the new price?",
            "A lake of {a} fish loses 10 percent of them. How many fish are left?",
        ),
        (0.58, 0.38, 0.62, 0.52),
        "part = a / 10; left = a - part",
        {"takes the part": "part = a / 10", "takes ten away": "left = a - 10", "adds the part": "part = a / 10; left = a + part"},
    ),
    Family(
        "half then more", "held-out", {"a": (20, 98), "b": (2, 20)},
        (
            "{name} has {a} {thing}, gives half of them to {other} and then loses {b}. How many are left?",
            "Half of the {a} birds fly off, then {b} more. How many birds stay?",
            "A tank holds {a} litres. Half is used, then another {b} litres. How much is left?",
            "{name} reads half of a book of {a} pages, then {b} pages more. How many pages are still to read?",
        ),
        (0.6, 0.55, 0.56, 0.36),
        "half = a / 2; left = half - b",
        {"adds the rest": "half = a / 2; left = half + b", "forgets the half": "left = a - b"},
    ),
    Family(
        "two kinds of tickets", "held-out", {"a": (2, 9), "b": (5, 12), "c": (2, 9), "d": (2, 4)},
        (
            "{a} adults pay {b} coins each and {c} children pay {d} coins each. What do they pay in all?",
            "{name} buys {a} large cups at {b} coins and {c} small cups at {d} coins. What is the price?",
            "A show sells {a} seats for {b} coins and {c} places to stand for {d} coins. How much comes in?",
            "{name} carries {a} bags of {b} kg and {c} bags of {d} kg. How many kg is that?",
        ),
        (0.56, 0.6, 0.37, 0.58),
        "first = a * b; second = c * d; total = first + second",
        {"one price for all": "count = a + c; total = count * b", "forgets the second": "first = a * b", "adds the prices": "price = b + d; total = price * a"},
    ),
    Family(
        "pay for the week", "held-out", {"a": (2, 8), "b": (2, 6), "c": (3, 15)},
        (
            "{name} works {a} hours a day for {b} days and gets {c} coins an hour. What is the pay?",
            "For {b} days {name} picks {thing} {a} hours a day, {c} in an hour. How many does {name} pick?",
            "A machine runs {a} hours on each of {b} days and fills {c} cans an hour. How many cans?",
            "{c} cars pass each hour. {name} counts for {a} hours on {b} days. How many cars pass?",
        ),
        (0.6, 0.52, 0.56, 0.38),
        "hours = a * b; pay = hours * c",
        {"takes one day": "pay = a * c", "adds hours and days": "hours = a + b; pay = hours * c"},
    ),
    Family(
        "times as many", "held-out", {"a": (3, 9), "b": (4, 40)},
        (
            "{other} has {b} {thing}. {name} has {a} times as many. How many do they have together?",
            "A small tank holds {b} litres and a big one {a} times as much. What do both hold?",
            "{name} sold {b} {thing} on Monday and {a} times as many on Tuesday. How many on both days?",
            "The hut is {b} years old, the house is {a} times as old. What is the sum of their ages?",
        ),
        (0.58, 0.55, 0.6, 0.37),
        "more = a * b; both = more + b",
        {"forgets the first": "more = a * b", "adds for times": "more = a + b; both = more + b"},
    ),
    Family(
        "weeks to save", "held-out", {"a": (20, 99), "b": (2, 40), "c": (2, 9)},
        (
            "{name} wants a toy for {a} coins, has {b} and saves {c} a week. How many weeks does it take?",
            "A tank of {a} litres holds {b} litres. A tap adds {c} litres a minute. In how many minutes is it full?",
            "{name} must read {a} pages, has read {b} and reads {c} a day. How many days are left?",
            "The wall needs {a} stones. {b} are laid and {name} lays {c} an hour. How many hours are left?",
        ),
        (0.56, 0.58, 0.38, 0.6),
        "need = a - b; weeks = need / c",
        {"stops at the need": "need = a - b", "adds what is there": "need = a + b; weeks = need / c"},
    ),
    Family(
        "tiles on a floor", "held-out", {"a": (3, 20), "b": (3, 12), "c": (2, 6)},
        (
            "A floor is {a} m by {b} m. One tile covers {c} square metres. How many tiles are needed?",
            "{name} paints a wall {a} m wide and {b} m high. A can is enough for {c} square metres. How many cans?",
            "A field measures {a} m by {b} m. Each plant needs {c} square metres. How many plants fit?",
            "{name} covers a yard of {a} m by {b} m with mats of {c} square metres. How many mats?",
        ),
        (0.6, 0.54, 0.38, 0.56),
        "area = a * b; tiles = area / c",
        {"stops at the area": "area = a * b", "adds the sides": "sides = a + b; tiles = sides * c"},
    ),
    Family(
        "floors climbed", "held-out", {"a": (2, 9), "b": (5, 20), "c": (6, 20)},
        (
            "{name} climbs from floor {a} to floor {b}. Each floor has {c} steps. How many steps is that?",
            "A lift goes from level {a} up to level {b}, {c} seconds a level. How many seconds does it take?",
            "From stop {a} to stop {b} a tram needs {c} minutes between stops. How many minutes is the ride?",
            "{name} goes from shelf {a} to shelf {b}. The shelves are {c} cm apart. How many cm is that?",
        ),
        (0.6, 0.55, 0.58, 0.36),
        "floors = b - a; steps = floors * c",
        {"counts from the ground": "steps = b * c", "counts one too many": "floors = b - a; floors = floors + 1; steps = floors * c"},
    ),
    Family(
        "missing score", "held-out", {"a": (5, 50), "b": (10, 60)},
        (
            "{name} wants a mean of {b} points over two tests. The first gave {a}. What must the second give?",
            "Two bags weigh {b} kg on average. One weighs {a} kg. How heavy is the other?",
            "The average age of {name} and {other} is {b}. {name} is {a}. How old is {other}?",
            "The mean of two numbers is {b}. One of them is {a}. What is the other?",
        ),
        (0.55, 0.38, 0.58, 0.6),
        "sum = b * 2; other = sum - a",
        {"takes the difference": "other = b - a", "adds the mean": "other = a + b"},
    ),
    Family(
        "hours to minutes", "held-out", {"a": (2, 9), "b": (5, 55)},
        (
            "A film lasts {a} hours and {b} minutes. How many minutes is that?",
            "{name} sleeps {a} hours and {b} minutes. For how many minutes does {name} sleep?",
            "The train needs {a} hours and {b} minutes. How many minutes is the ride?",
            "Turn {a} hours and {b} minutes into minutes.",
        ),
        (0.58, 0.55, 0.36, 0.62),
        "full = a * 60; minutes = full + b",
        {"a hundred minutes an hour": "full = a * 100; minutes = full + b", "adds hours to minutes": "minutes = a + b"},
    ),
)
"""Twelve families, four phrasings each."""
