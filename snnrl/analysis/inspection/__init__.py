"""A look inside a trained agent: warnings, pictures, a film and the page that holds them."""
