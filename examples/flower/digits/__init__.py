"""A small Flower app, defended by antivenom."""
