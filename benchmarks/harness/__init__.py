"""The benchmark: one training step of six networks, in fastbp and in other libraries.

``rows`` says what is computed, the ``peer_*`` modules how each library computes it, ``machine`` on what, ``runner``
how it is checked and timed, ``report`` how the result is shown. Nothing else in fastbp imports this package.
"""
