"""What a poisoned model, data set or server makes a training run give away, and how much."""
