"""Is this model backdoored? Checks of a finished model: its structure, its weights and its answers."""
