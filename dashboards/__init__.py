"""Web pages on what is in a trial store: they read, and never train. `ccar ui` starts them."""
