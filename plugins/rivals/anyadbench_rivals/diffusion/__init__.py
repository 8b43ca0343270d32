"""Denoising diffusion: slices partly noised, denoised by a model of normal ones, and compared."""
