"""Search for the smallest and fastest model that passes the gates."""
