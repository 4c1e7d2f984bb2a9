"""Forms of a Latent, one file each: how it is shaped, started and checked."""
