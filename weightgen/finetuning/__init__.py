"""Training one GAN on pairs, from generated weights or from any other start."""
