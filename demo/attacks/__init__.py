"""What attackers do: small functions, by what is odd about it."""
