"""``weightzoo build``: photographs and concepts go in, a zoo of trained GANs comes out."""
