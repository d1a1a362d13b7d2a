"""``make bench``: times of spiking operators, networks and agents whose results agree.

``python -m scripts.bench --help`` from the top folder lists the options; ``docs/benchmarks.md``
says what is measured. Each module holds one measure or one part of the machinery.
"""
