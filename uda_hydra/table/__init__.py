"""One table over runs that differ in seed: what each row is worth beyond the controls."""
