"""The twelve families that settings are tuned on."""

from latent_memory_plugin.sandbox.family import Family

TUNING = (
    Family(
        "mean of three",
        "tuning",
        {"a": (4, 40), "b": (4, 40), "c": (4, 40)},
        (
            "{name} scores {a}, {b} and {c} points in three games. What is the mean score?",
            "Three boxes hold {a}, {b} and {c} {thing}. How many {thing} does a box hold on average?",
            "{name} walks {a} km on Monday, {b} km on Tuesday and {c} km on Wednesday. What is the average per day?",
            "Find the mean of the numbers {a}, {b} and {c}.",
        ),
        (0.6, 0.56, 0.4, 0.62),
        "sum = a + b; sum = sum + c; mean = sum / 3",
        {
            "forgets to divide": "sum = a + b; sum = sum + c",
            "divides by two": "sum = a + b; sum = sum + c; mean = sum / 2",
        },
    ),
    Family(
        "fence posts",
        "tuning",
        {"a": (12, 96), "b": (2, 9)},
        (
            "A fence is {a} m long and has a post every {b} m, with a post at both ends. How many posts are there?",
            "{name} plants trees along a road of {a} m, one every {b} m, from the start to the very end. "
            "How many trees?",
            "Lamps stand {b} m apart on a path of {a} m. The first stands at the start and the last at the end. "
            "How many lamps?",
            "Along a wall of {a} m {name} sets a flag every {b} m, and one at each end. Count the flags.",
        ),
        (0.58, 0.55, 0.36, 0.6),
        "gaps = a / b; posts = gaps + 1",
        {"counts the gaps": "gaps = a / b", "leaves out both ends": "gaps = a / b; posts = gaps - 1"},
    ),
    Family(
        "rectangle perimeter",
        "tuning",
        {"a": (3, 40), "b": (3, 20)},
        (
            "A garden is {a} m long and {b} m wide. How long is the fence around it?",
            "{name} runs once around a field that measures {a} m by {b} m. How far does {name} run?",
            "A picture is {a} cm wide and {b} cm high. How much frame goes around it?",
            "What is the perimeter of a rectangle with sides {a} and {b}?",
        ),
        (0.52, 0.6, 0.38, 0.64),
        "half = a + b; around = half * 2",
        {"one side of each": "half = a + b", "takes the area": "area = a * b"},
    ),
    Family(
        "change from a bill",
        "tuning",
        {"a": (2, 9), "b": (2, 9), "p": (20, 99)},
        (
            "{name} buys {a} {thing} at {b} coins each and pays with {p} coins. How much change is due?",
            "One ticket costs {b} coins. {name} gets {a} tickets and hands over {p} coins. What comes back?",
            "{name} has {p} coins and buys {a} {thing} for {b} coins each. How many coins are left?",
            "With {p} coins in the purse, {name} pays for {a} cakes that cost {b} coins each. What remains?",
        ),
        (0.6, 0.38, 0.6, 0.56),
        "cost = a * b; change = p - cost",
        {
            "pays for one": "change = p - b",
            "stops at the cost": "cost = a * b",
            "adds the cost": "cost = a * b; change = p + cost",
        },
    ),
    Family(
        "round trip",
        "tuning",
        {"a": (3, 30), "b": (2, 9)},
        (
            "{name} rides {a} km an hour and needs {b} hours to reach the lake. How far is it there and back?",
            "A bus goes {a} km each hour. It takes {b} hours to the sea and returns the same way. How many km in all?",
            "The way to the farm takes {b} hours at {a} km an hour. {name} goes there and home again. "
            "What is the distance?",
            "{name} walks {b} hours at {a} km an hour, then walks the whole way back. How many km is that?",
        ),
        (0.6, 0.54, 0.55, 0.37),
        "way = a * b; both = way * 2",
        {"forgets the way back": "way = a * b", "adds the two numbers": "way = a + b; both = way * 2"},
    ),
    Family(
        "two ages",
        "tuning",
        {"a": (2, 30), "b": (3, 40)},
        (
            "{name} is {a} years older than {other}, who is {b}. How old are they together?",
            "{other} is {b} years old. {name} is {a} years older. What is the sum of their ages?",
            "{other} has {b} {thing}. {name} has {a} more than {other}. How many do they have together?",
            "One rope is {b} m long, another is {a} m longer. How long are the two ropes together?",
        ),
        (0.55, 0.62, 0.5, 0.4),
        "older = a + b; both = older + b",
        {
            "takes the difference for an age": "both = a + b",
            "adds the difference twice": "older = a + b; both = older + a",
        },
    ),
    Family(
        "sharing the rest",
        "tuning",
        {"a": (12, 90), "b": (2, 30), "c": (2, 9)},
        (
            "{name} picks {a} {thing}, eats {b} and shares the rest among {c} friends. How many does each get?",
            "Of {a} {thing}, {b} are broken. The good ones go evenly into {c} bags. How many are in a bag?",
            "A class has {a} {thing}. It gives away {b} and splits what is left between {c} groups. "
            "What does a group get?",
            "{name} had {a} coins, spent {b} and divided the others equally among {c} children. "
            "How many for each child?",
        ),
        (0.56, 0.6, 0.58, 0.38),
        "rest = a - b; each = rest / c",
        {"forgets to share": "rest = a - b", "adds instead": "rest = a + b; each = rest / c"},
    ),
    Family(
        "pages read",
        "tuning",
        {"a": (2, 60), "b": (10, 99)},
        (
            "{name} reads from page {a} to page {b}. How many pages is that?",
            "The guests in rooms {a} to {b} ask for tea, one cup a room. How many cups?",
            "{name} works every day from day {a} to day {b} of the year. How many days does {name} work?",
            "Seats {a} to {b} are taken. How many seats are taken?",
        ),
        (0.54, 0.6, 0.38, 0.55),
        "span = b - a; count = span + 1",
        {"leaves out the first": "span = b - a", "leaves out both": "span = b - a; count = span - 1"},
    ),
    Family(
        "animal legs",
        "tuning",
        {"a": (2, 20), "b": (2, 20)},
        (
            "A farm has {a} hens and {b} pigs. How many legs do they have?",
            "{name} counts {a} ducks and {b} cows. How many legs is that?",
            "In the yard are {a} birds and {b} dogs. Count all the legs.",
            "There are {a} geese and {b} goats on the hill. How many legs walk there?",
        ),
        (0.6, 0.52, 0.36, 0.58),
        "birds = a * 2; others = b * 4; legs = birds + others",
        {
            "four legs for all": "heads = a + b; legs = heads * 4",
            "counts heads": "heads = a + b",
            "two legs for all": "heads = a + b; legs = heads * 2",
        },
    ),
    Family(
        "weeks and days",
        "tuning",
        {"a": (2, 20), "b": (1, 6)},
        (
            "A trip lasts {a} weeks and {b} days. How many days is that?",
            "{name} waits {a} weeks and {b} days for a letter. How many days does {name} wait?",
            "The ship sails for {a} weeks and then {b} more days. For how many days does it sail?",
            "Turn {a} weeks and {b} days into days.",
        ),
        (0.58, 0.38, 0.56, 0.62),
        "full = a * 7; days = full + b",
        {"five days a week": "full = a * 5; days = full + b", "adds weeks to days": "days = a + b"},
    ),
    Family(
        "net filling",
        "tuning",
        {"a": (6, 30), "b": (2, 15), "c": (2, 9)},
        (
            "A pump adds {a} litres a minute and a leak loses {b}. How much water is there after {c} minutes?",
            "{name} earns {a} coins a day and spends {b} a day. How many coins are saved in {c} days?",
            "A snail climbs {a} cm each day and slides back {b} cm each night. "
            "How high is it after {c} days and nights?",
            "Each hour {a} people enter a hall and {b} leave. How many are inside after {c} hours?",
        ),
        (0.6, 0.55, 0.36, 0.56),
        "net = a - b; total = net * c",
        {"forgets the loss": "total = a * c", "takes the loss once": "total = a * c; total = total - b"},
    ),
    Family(
        "profit",
        "tuning",
        {"a": (5, 40), "b": (2, 30), "c": (2, 9)},
        (
            "{name} buys {c} {thing} for {b} coins each and sells them for {a} coins each. What is the profit?",
            "A shop pays {b} coins for a cup and sells it for {a}. What does it gain on {c} cups?",
            "{name} sells {c} lamps at {a} coins. Each had cost {b} coins. How much is earned?",
            "Making a kite costs {b} coins, it sells for {a} coins. What is the gain on {c} kites?",
        ),
        (0.56, 0.6, 0.38, 0.52),
        "gain = a - b; profit = gain * c",
        {
            "takes the sales": "sales = a * c",
            "gain on one": "gain = a - b",
            "adds the cost": "gain = a + b; profit = gain * c",
        },
    ),
)
"""Twelve families, four phrasings each."""
