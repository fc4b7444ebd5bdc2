"""Small made-up inputs that several test files share."""
