"""The centre that keys are measured from: the mean over questions about anything and everything. Without it, all keys
of a model point into nearly the same direction. Legend: N questions, D key size."""

import numpy as np

CENTRE_VERSION = 1
"""Part of every encoder's name: a change to the questions below makes other keys."""

CENTRE_QUESTIONS = (
    "What is 17 plus 25?",
    "How many minutes are there in three and a half hours?",
    "A train travels 60 kilometres in 45 minutes. What is its speed in kilometres per hour?",
    "Solve the equation 3x - 7 = 11 for x.",
    "What is the area of a triangle with base 8 and height 5?",
    "Maria has 12 apples and gives a third of them to her brother. How many does she keep?",
    "What is the probability of rolling two sixes with two dice?",
    "Find the derivative of x squared times the sine of x.",
    "A shirt costs 40 dollars and is sold at 25 percent off. What is the price?",
    "Is 91 a prime number?",
    "What is the capital of Australia?",
    "Who wrote the play Hamlet?",
    "In which year did the Second World War end?",
    "Why is the sky blue?",
    "Explain how a bicycle stays upright.",
    "What does the heart do?",
    "Translate 'good morning' into French.",
    "Write a short poem about the sea.",
    "Give me a recipe for pancakes.",
    "Write a Python function that reverses a string.",
    "How do I undo the last commit in git?",
    "Sort these words by length: cat, elephant, dog, mouse.",
    "Summarise the plot of Cinderella in one sentence.",
    "What should I pack for a week in the mountains?",
)


def unit_keys(raw: np.ndarray, centre: np.ndarray) -> np.ndarray:
    """(N, D) float32 of unit length from raw keys (N, D) and a centre (D,); a key at the centre stays zero."""
    centred = raw - centre
    lengths = np.linalg.norm(centred, axis=-1, keepdims=True)
    return (centred / np.where(lengths > 0, lengths, 1)).astype(np.float32)
