"""Small encodings of the front end, for other native modules only; Python calls nothing here."""
