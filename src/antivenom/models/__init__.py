"""Models: architectures apart from their weights, training, and one small face over torch and scikit-learn."""
