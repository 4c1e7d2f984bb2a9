"""`bench speed`: what sampling, learning and starting cost, each beside its reference in the same run.

subject    the model that is measured, and a shape with random weights
pairs      ours and the reference in turns; a row of the report
share      how much of the time is the model's own
sampling   rows of rollouts and answers
learning   rows of learning a Latent: time and peak memory
reference  the reference for learning: TRL's GRPOTrainer on PEFT's prompt tuning
cold       rows of fresh processes
run        which rows there are, and the machine they ran on
"""
