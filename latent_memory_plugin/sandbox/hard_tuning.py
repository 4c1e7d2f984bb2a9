"""The twelve families of the hard half that settings are tuned on.

The first word of a solution names its way, and these words recur from family to family.
"""

from latent_memory_plugin.sandbox.family import Family

HARD_TUNING = (
    Family(
        "two shifts",
        "tuning",
        {"a": (2, 9), "b": (2, 9), "c": (3, 12)},
        (
            "{name} works {a} hours before lunch and {b} hours after it. An hour is paid {c} coins. What is the pay?",
            "On Monday {a} lessons are given, on Tuesday {b}. Each lesson costs {c} coins. What do they cost?",
            "{name} fills {a} jars, {other} fills {b}. Every jar takes {c} plums. How many plums is that?",
            "One bus brings {a} teams and another brings {b}. A team has {c} players. How many players come?",
        ),
        (0.52, 0.48, 0.42, 0.5),
        "count = a + b; total = count * c",
        {
            "takes the first alone": "all = a * c",
            "takes the second alone": "rest = b * c",
            "adds the numbers": "sum = a + b; sum = sum + c",
        },
        also_right=(
            "first = a * c; second = b * c; total = first + second",
            "last = b * c; start = a * c; total = last + start",
        ),
        leading=0.65,
        kinds=("ways",),
    ),
    Family(
        "growing by the same",
        "tuning",
        {"a": (3, 30), "b": (2, 12)},
        (
            "{name} runs {a} km in the first week and {b} km more in each week than in the week before. "
            "How far is that in three weeks?",
            "The lowest of three shelves holds {a} books, every next one {b} more. How many books are on them?",
            "A hen lays {a} eggs in May. In June and in July it is {b} more than in the month before. "
            "How many eggs in the three months?",
            "Of three brothers the youngest has {a} coins, and each of the others {b} more than the next younger. "
            "What do they own together?",
        ),
        (0.48, 0.52, 0.5, 0.42),
        "second = a + b; total = second * 3",
        {
            "adds the growth once": "base = a * 3; total = base + b",
            "leaves the growth out": "all = a * 3",
            "stops at the second": "both = a + b; both = both + a",
        },
        also_right=(
            "times = a * 3; extra = b * 3; total = times + extra",
            "more = a + b; last = more + b; sum = a + more; total = sum + last",
        ),
        leading=0.65,
        kinds=("ways",),
    ),
    Family(
        "two purchases",
        "tuning",
        {"p": (40, 99), "a": (3, 20), "b": (3, 18)},
        (
            "{name} has {p} coins, buys a hat for {a} and a belt for {b}. How many coins are left?",
            "A roll holds {p} m of wire. {name} cuts off {a} m and later {b} m. How much wire is left on it?",
            "{p} guests came. At nine {a} went home, at ten {b}. How many are still there?",
            "In a tank are {p} litres. {name} drains {a} litres, {other} drains {b}. What stays in it?",
        ),
        (0.5, 0.42, 0.52, 0.48),
        "sum = a + b; left = p - sum",
        {
            "puts the second back": "less = p - a; left = less + b",
            "forgets the second": "one = p - a",
            "stops at the sum": "all = a + b",
        },
        also_right=("rest = p - a; left = rest - b", "part = p - b; left = part - a"),
        leading=0.65,
        kinds=("ways",),
    ),
    Family(
        "spoilt goods",
        "tuning",
        {"a": (3, 9), "b": (4, 12), "c": (2, 10)},
        (
            "A farmer opens {a} crates with {b} melons apiece and throws {c} bad ones away. How many melons are good?",
            "Rows in the theatre: {a}. Seats per row: {b}. Tonight {c} stay empty. Count the audience.",
            "{name} earns {b} silver daily for {a} days, then pays {c} as tax. What money has {name} now?",
            "From {a} sheets, {b} stamps on every sheet, a collector peels off {c}. Number of stamps still stuck?",
        ),
        (0.52, 0.5, 0.42, 0.48),
        "whole = a * b; left = whole - c",
        {
            "takes the loss from each": "each = b - c; left = each * a",
            "forgets the loss": "all = a * b",
            "adds the loss": "more = a * b; more = more + c",
        },
        also_right=(
            "count = b * a; left = count - c",
            "one = a - 1; part = one * b; last = b - c; left = part + last",
        ),
        leading=0.65,
        kinds=("reworded", "ways"),
    ),
    Family(
        "half of a product",
        "tuning",
        {"a": (2, 15), "b": (3, 20)},
        (
            "A triangle has a base of {a} cm and a height of {b} cm. What is its area?",
            "On {a} trays of {name} lie {b} cakes each, and one in two cakes is sold. How many cakes are sold?",
            "Children travel at half fare. What does {name} pay for {a} kids where adults give {b} coins?",
            "Twins split a wage evenly: {a} days, {b} dollars daily. How much does either get?",
        ),
        (0.54, 0.5, 0.54, 0.38),
        "count = a * b; half = count / 2",
        {
            "forgets the half": "whole = a * b",
            "adds the two": "sum = a + b",
            "doubles": "double = a * b; double = double * 2",
        },
        kinds=("reworded",),
    ),
    Family(
        "split and topped up",
        "tuning",
        {"a": (12, 90), "b": (2, 9), "c": (2, 20)},
        (
            "{a} nuts are divided equally among {b} squirrels, and {c} acorns come on top for each. "
            "How much food has one squirrel?",
            "A cyclist covers {a} km over {b} stages of the same size, then adds {c} km to today's. "
            "How far is today's ride?",
            "Rent of {a} dollars is shared by {b} flatmates; heating costs {c} extra apiece. What does somebody pay?",
            "Cut {a} cm of rope into {b} parts. Glue {c} cm onto a part. New length?",
        ),
        (0.54, 0.38, 0.54, 0.5),
        "share = a / b; total = share + c",
        {
            "forgets the extra": "part = a / b",
            "takes the extra away": "less = a / b; less = less - c",
            "adds all": "all = a + b; all = all + c",
        },
        kinds=("reworded",),
    ),
    Family(
        "added once",
        "tuning",
        {"a": (3, 9), "b": (3, 12), "c": (2, 9)},
        (
            "{name} has {a} bags with {b} {thing} each. {other} adds {c} {thing} to one bag. "
            "How many {thing} are there?",
            "A train has {a} cars of {b} seats. The first car gets {c} new seats. How many seats has the train?",
            "{a} children bring {b} shells each in the morning and {c} together at noon. How many shells is that?",
            "{name} pays {b} coins a day for {a} days and a fee of {c} coins once. What does {name} pay in all?",
        ),
        (0.54, 0.5, 0.54, 0.38),
        "base = a * b; total = base + c",
        {
            "adds to each": "each = b + c; total = each * a",
            "forgets what is added": "all = a * b",
            "adds the numbers": "sum = a + b; sum = sum + c",
        },
        kinds=("look-alike",),
        twin="added to each",
    ),
    Family(
        "added to each",
        "tuning",
        {"a": (3, 9), "b": (3, 12), "c": (2, 9)},
        (
            "{name} has {a} bags with {b} {thing} each. {other} adds {c} {thing} to every bag. "
            "How many {thing} are there?",
            "A train has {a} cars of {b} seats. Each car gets {c} new seats. How many seats has the train?",
            "{a} children bring {b} shells each in the morning and {c} each at noon. How many shells is that?",
            "{name} pays {b} coins a day for {a} days and a fee of {c} coins daily. What does {name} pay in all?",
        ),
        (0.38, 0.54, 0.5, 0.54),
        "each = b + c; total = each * a",
        {
            "adds once": "base = a * b; total = base + c",
            "forgets what is added": "all = a * b",
            "adds the numbers": "sum = a + b; sum = sum + c",
        },
        kinds=("look-alike",),
        twin="added once",
    ),
    Family(
        "more than the other",
        "tuning",
        {"a": (10, 60), "b": (2, 20)},
        (
            "{name} has {a} {thing}, {b} more than {other}. How many do the two have together?",
            "The red rope is {a} m long and {b} m longer than the blue one. How long are both ropes?",
            "Today {a} ships came, which is {b} above yesterday. How many came on both days?",
            "{name} is {a} years old and {b} years older than {other}. What is the sum of their ages?",
        ),
        (0.5, 0.42, 0.52, 0.48),
        "less = a - b; both = a + less",
        {
            "takes the other for larger": "more = a + b; both = a + more",
            "stops at the other": "rest = a - b",
            "adds the numbers": "sum = a + b",
        },
        also_right=("double = a * 2; both = double - b", "second = a - b; both = second + a"),
        leading=0.65,
        kinds=("look-alike", "ways"),
        twin="fewer than the other",
    ),
    Family(
        "fewer than the other",
        "tuning",
        {"a": (10, 60), "b": (2, 20)},
        (
            "{name} has {a} {thing}, {b} fewer than {other}. How many do the two have together?",
            "The red rope is {a} m long and {b} m shorter than the blue one. How long are both ropes?",
            "Today {a} ships came, which is {b} below yesterday. How many came on both days?",
            "{name} is {a} years old and {b} years younger than {other}. What is the sum of their ages?",
        ),
        (0.42, 0.5, 0.48, 0.52),
        "more = a + b; both = a + more",
        {
            "takes the other for smaller": "less = a - b; both = a + less",
            "adds the numbers": "sum = a + b",
            "adds the difference twice": "extra = b * 2; both = a + extra",
        },
        also_right=("double = a * 2; both = double + b", "second = a + b; both = second + a"),
        leading=0.65,
        kinds=("look-alike", "ways"),
        twin="more than the other",
    ),
    Family(
        "twice as many after",
        "tuning",
        {"a": (3, 40), "b": (2, 20)},
        (
            "{name} eats {a} plums on Monday, twice as many on Tuesday and {b} on Wednesday. How many plums is that?",
            "A clown sells {a} red balloons, twice as many green ones and {b} white ones. How many does he sell?",
            "The first song lasts {a} seconds, the second twice as long and the third {b} seconds. "
            "How long do the songs last?",
            "Post came from {a} aunts, from twice as many uncles and from {b} cousins. How many letters came?",
        ),
        (0.28, 0.24, 0.52, 0.32),
        "second = a * 2; sum = a + second; total = sum + b",
        {
            "leaves the first out": "double = a * 2; total = double + b",
            "doubles all": "all = a + b; all = all * 2",
            "takes two more": "more = a + 2; total = more + b",
        },
        leading=0.75,
        kinds=("misled",),
    ),
    Family(
        "the smaller of two",
        "tuning",
        {"a": (10, 98), "b": (2, 30)},
        (
            "A bat and a ball cost {a} coins together. The bat costs {b} coins more. What does the ball cost?",
            "{name} and {other} own {a} {thing}. {name} owns {b} more. How many does {other} own?",
            "Two pipes measure {a} m in all, and one is {b} m longer. How long is the short pipe?",
            "In two nights {a} boats passed, {b} more in the second. How many passed in the first?",
        ),
        (0.34, 0.6, 0.36, 0.34),
        "rest = a - b; part = rest / 2",
        {
            "takes the difference away": "less = a - b",
            "halves, then takes away": "half = a / 2; part = half - b",
            "halves the sum": "sum = a + b; part = sum / 2",
        },
        leading=0.7,
        kinds=("misled",),
    ),
)
"""Twelve families, four phrasings each."""
