"""Nopython code only: arrays and scalars in, arrays out.  No Python objects, no I/O.

A trailing underscore marks a kernel that writes into an argument and returns nothing.
Letters are fixed: ``x`` input, ``z`` pre-activation, ``a`` activation, ``delta`` dJ/dz,
``W`` (n_in, n_out) and ``b`` (n_out,) of a layer, ``params`` and ``grads`` flat vectors.
"""
