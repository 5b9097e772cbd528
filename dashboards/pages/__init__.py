"""One page per file: what it shows, as a function of the store and of the address."""
